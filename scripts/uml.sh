#!/bin/sh
# Runs a program, and its arguments, on User-Mode Linux: a kernel with bonds, VLANs and IPVS, as an ordinary process. It
# sees this machine's files, read-only but for fresh /tmp and /run, has no network but what it makes, and is root there.
# Ends with the program's exit code. Debian's package user-mode-linux has the kernel.
set -eu

[ $# -gt 0 ] || { echo "usage: scripts/uml.sh PROGRAM [ARGUMENT..]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
{ command -v linux.uml && PATH="$PATH:/sbin:/usr/sbin" command -v modprobe; } >/dev/null || "$here/setup.sh" linux.uml:user-mode-linux modprobe:kmod

work=$(mktemp -d)
uml=
trap '[ -z "$uml" ] || kill "$uml" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

quoted=
for word; do
    quoted="$quoted '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
done
# The result goes to a file: the console is the program's, and ends with the kernel's own last words.
cat > "$work/init" <<INIT
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t hostfs -o "$work" hostfs /mnt
# Its own modules, for which the kernel asks by itself; they are in a place where modprobe does not look.
mkdir -p /tmp/modules/lib && ln -s /usr/lib/uml/modules /tmp/modules/lib/modules
printf '#!/bin/sh\nexec modprobe --dirname /tmp/modules "\$@"\n' > /tmp/modules/load
chmod +x /tmp/modules/load
echo /tmp/modules/load > /proc/sys/kernel/modprobe
/tmp/modules/load ipv6
ip link set lo up
$(env | sed -n "s/'/'\\\\''/g; s/^\\(\\(MAINSTAY\\|RUST\\)_[A-Z_]*\\)=\\(.*\\)/export \\1='\\3'/p")
cd "$PWD" && $quoted
echo \$? > /mnt/result
echo o > /proc/sysrq-trigger
sleep 60
INIT
chmod +x "$work/init"
linux.uml mem="${UML_MEMORY:-768M}" rootfstype=hostfs rootflags=/ ro init="$work/init" \
    umid="mainstay-$$" uml_dir="$work/" con=null con0=null,fd:2 con1=fd:0,fd:1 quiet &
uml=$!
wait "$uml" || true
uml=
[ -s "$work/result" ] || { echo "uml: the kernel ended before the program" >&2; exit 1; }
exit "$(cat "$work/result")"
