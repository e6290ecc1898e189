#!/usr/bin/env bash
# Makes the disk of a virtual machine: a Debian, on which the script that makes
# all our images has installed the package, and which check.sh has found fit for
# an image; then what the tests need besides, in overlay/ and /opt/vm.
#
#   bake.sh OUT OLDER.deb NEWER.deb BUSYBOX.tar
#
# OUT gets disk.raw, vmlinuz and initrd. OLDER is installed, NEWER lies in /opt/vm.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
packaging=$here/../../packaging
out=$1 older=$2 newer=$3 busybox=$4

# The kernel is Debian's for clouds. The engine and compose are Debian's too, so
# that provision.sh needs no network; that it can install an engine itself is
# shown where it is tested.
tarball=$("$packaging/root.sh" vm linux-image-cloud-amd64 systemd-sysv systemd-resolved dbus udev kmod procps \
	netplan.io isc-dhcp-client iproute2 iptables ca-certificates logrotate apparmor \
	cloud-init docker.io docker-compose qemu-guest-agent)

root=$(mktemp -d /var/tmp/quaymaster-vm-root.XXXXXX)
trap 'rm -rf "$root"' EXIT
tar --numeric-owner -C "$root" -xpf "$tarball"

mkdir "$root/opt/image"
cp "$packaging"/image/{provision,check}.sh "$root/opt/image/"
cp "$older" "$root/opt/image/quaymaster.deb"
unshare --mount --pid --net --fork --kill-child chroot "$root" /bin/sh -c \
	'mount -t proc proc /proc && exec /opt/image/provision.sh --package /opt/image/quaymaster.deb' </dev/null
rm -rf "$root/opt/image"
"$packaging/image/check.sh" "$root"

# From here on it is a test's.
cp -r "$here/overlay/." "$root/"
mkdir "$root/opt/vm"
cp "$older" "$root/opt/vm/older.deb"
cp "$newer" "$root/opt/vm/newer.deb"
cp "$busybox" "$root/opt/vm/busybox.tar"
ln -s ../plain.service "$root/etc/systemd/system/multi-user.target.wants/plain.service"
# Google's own images have it there.
echo '169.254.169.254 metadata.google.internal metadata' >>"$root/etc/hosts"

cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd"
# The journal of the filesystem would cost time and protect nothing: no disk
# outlives its test.
mkfs.ext4 -q -F -O ^has_journal -L root -d "$root" "$out/disk.raw" 3G
