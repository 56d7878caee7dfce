#!/bin/sh
# Runs a program, and its arguments, on Debian's own kernel in an emulated machine: one with IPVS and all of nftables, which
# this machine may have only in part. No hardware support is asked of it: it boots in some 15 s, and is slow. It sees this
# machine's files, read-only but for fresh /tmp and /run, has no network but what it makes, and is root there. Ends with the
# program's exit code. The kernel is unpacked below target/vm, nothing of it is installed.
set -eu

[ $# -gt 0 ] || { echo "usage: scripts/vm.sh PROGRAM [ARGUMENT..]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh" qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio depmod:kmod
PATH="$PATH:/sbin:/usr/sbin"

# The kernel, with a list of what its modules need.
kernel="$here/../target/vm/kernel"
if [ ! -e "$kernel/ready" ]; then
    rm -rf "$kernel"
    mkdir -p "$kernel"
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p')
    [ -n "$package" ] || { echo "vm: Debian's package linux-image-amd64 is not known here: apt-get update" >&2; exit 1; }
    (cd "$kernel" && apt-get download -q "$package" >&2 && dpkg -x linux-image-*.deb . && rm linux-image-*.deb)
    depmod -b "$kernel" "$(ls "$kernel/lib/modules")"
    touch "$kernel/ready"
fi
version=$(ls "$kernel/lib/modules")

work=$(mktemp -d)
vm=
trap '[ -z "$vm" ] || kill "$vm" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# What the first program needs to reach this machine's files.
mkdir -p "$work/first/bin" "$work/first/modules" "$work/share"
cp "$(command -v busybox)" "$work/first/bin/busybox"
modprobe --dirname "$kernel" --set-version "$version" --show-depends --all crc32c_generic virtio_pci 9pnet_virtio 9p \
    | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' > "$work/modules"
while read -r module; do cp "$module" "$work/first/modules/"; done < "$work/modules"
cat > "$work/first/init" <<INIT
#!/bin/busybox sh
b=/bin/busybox
\$b mkdir -p /proc /root
\$b mount -t proc proc /proc
$(sed 's|.*/|$b insmod /modules/|' "$work/modules")
\$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /root || \$b poweroff -f
for fs in proc:proc sysfs:sys devtmpfs:dev tmpfs:tmp tmpfs:run; do \$b mount -t \${fs%%:*} none /root/\${fs##*:}; done
\$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 work /root/mnt || \$b poweroff -f
# Itself, and no child: the kernel looks for its helper below the first process's root.
exec \$b chroot /root /bin/sh /mnt/init
INIT
chmod +x "$work/first/init"
(cd "$work/first" && find . | cpio --quiet -o -H newc) > "$work/initrd"

quoted=
for word; do
    quoted="$quoted '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
done
cat > "$work/share/init" <<INIT
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
# The kernel asks for its modules by itself; they are in a place where modprobe does not look.
printf '#!/bin/sh\nexec modprobe --dirname $(cd "$kernel" && pwd) "\$@"\n' > /tmp/load
chmod +x /tmp/load
echo /tmp/load > /proc/sys/kernel/modprobe
/tmp/load --all ip_vs veth
ip link set lo up
$(env | sed -n "s/'/'\\\\''/g; s/^\\(\\(MAINSTAY\\|RUST\\)_[A-Z_]*\\)=\\(.*\\)/export \\1='\\3'/p")
cd "$PWD" && $quoted
echo \$? > /mnt/result
sync
echo o > /proc/sysrq-trigger
sleep 60
INIT
qemu-system-x86_64 -M pc -accel tcg -m "${VM_MEMORY:-1024}" -nodefaults -no-reboot -display none -serial stdio \
    -kernel "$kernel/boot/vmlinuz-$version" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1" \
    -virtfs "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap" \
    -virtfs "local,path=$work/share,mount_tag=work,security_model=none" < /dev/null &
vm=$!
wait "$vm" || true
vm=
[ -s "$work/share/result" ] || { echo "vm: the kernel ended before the program" >&2; exit 1; }
exit "$(cat "$work/share/result")"
