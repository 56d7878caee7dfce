#!/bin/sh
# Installs what building and testing need and the machine lacks. Quick and silent when nothing is missing.
# Without root it names the packages and fails. Arguments: more pairs of tool:package, for one target's own needs.
set -eu

# tool:Debian package
NEEDED="
cc:build-essential
ip:iproute2
bridge:iproute2
nft:nftables
ping:iputils-ping
unshare:util-linux
setpriv:util-linux
setcap:libcap2-bin
kubectl:kubernetes-client
dnsmasq:dnsmasq-base
"

# Debian keeps these out of an ordinary user's PATH.
PATH="$PATH:/usr/sbin:/sbin"

command -v "${CARGO:-cargo}" >/dev/null || {
    echo "setup: cargo is missing: install Rust 1.95 or newer, see https://rustup.rs" >&2
    exit 1
}

packages=""
for pair in $NEEDED "$@"; do
    command -v "${pair%%:*}" >/dev/null && continue
    case " $packages " in
    *" ${pair#*:} "*) ;;
    *) packages="$packages ${pair#*:}" ;;
    esac
done
[ -n "$packages" ] || exit 0

command -v apt-get >/dev/null || {
    echo "setup: missing, and there is no apt-get: install what is called in Debian:$packages" >&2
    exit 1
}
[ "$(id -u)" -eq 0 ] || {
    echo "setup: missing: run: sudo apt-get install$packages" >&2
    exit 1
}

echo "setup: installing$packages" >&2
export DEBIAN_FRONTEND=noninteractive
# The lists may be absent or too old for the mirror; without a mirror the install says so itself.
apt-get update -qq || true
# shellcheck disable=SC2086 # one word for each package
apt-get install -y -qq --no-install-recommends $packages >&2
