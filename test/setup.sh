#!/usr/bin/env bash
# Installs what the tests and the demo need and this machine lacks, from
# Debian's packages. It does nothing, quickly, when all is there.
#   setup.sh [demo|test|engines|packages|image|terraform|vm]
set -euo pipefail
for_what=${1:-test}

# The cache is the caller's, though root will keep things in it.
mkdir -p "${QUAYMASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or QUAYMASTER_CACHE}/.cache}/quaymaster}"

need=()
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }
have dockerd || need+=(docker.io)
have iptables || need+=(iptables)
have ip || need+=(iproute2)
have nsenter || need+=(util-linux)
have gcc || need+=(gcc)
[ -e /usr/share/doc/ca-certificates ] || need+=(ca-certificates)
if ! file=$(command -v busybox) || ldd "$file" >/dev/null 2>&1; then need+=(busybox-static); fi
if [ "$for_what" != demo ]; then
	[ -e /usr/include/stdio.h ] || need+=(libc6-dev) # the race detector is linked with cgo
	have mmdebstrap || need+=(mmdebstrap)
	compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || need+=(postgresql)
	compgen -G '/usr/lib/postgresql/*/bin/psql' >/dev/null || need+=(postgresql-client)
	have keytool || need+=(default-jre-headless) # opens the keystores that are made
	have openssl || need+=(openssl)
	have systemd-analyze && have systemd-socket-activate || need+=(systemd) # reads the units; need not run
	have cloud-init || need+=(cloud-init) # judges user-data; need not run
fi
if [ "$for_what" = engines ]; then # the newest engine's runc is linked with it
	have pkg-config || need+=(pkg-config)
	[ -e /usr/include/seccomp.h ] || need+=(libseccomp-dev)
fi
if [ "$for_what" = packages ]; then
	have lintian || need+=(lintian)
	have rpm || need+=(rpm)
	have man || need+=(man-db)
	have ssh-keygen || need+=(openssh-client)
fi
if [ "$for_what" = image ]; then
	have shellcheck || need+=(shellcheck)
	have qemu-system-x86_64 || need+=(qemu-system-x86)
	have qemu-img || need+=(qemu-utils)
	have xorriso || need+=(xorriso) # makes the seed's CD
	have mkfs.ext4 && have debugfs || need+=(e2fsprogs)
fi
if [ "$for_what" = vm ]; then
	have qemu-system-x86_64 || need+=(qemu-system-x86)
	have nc || need+=(netcat-openbsd)
	have mkfs.ext4 || need+=(e2fsprogs)
fi
[ ${#need[@]} -eq 0 ] && exit 0

echo "setup: installing ${need[*]}" >&2
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
if ! have apt-get; then
	echo "setup: this machine has no apt-get: install these yourself: ${need[*]}" >&2
	exit 1
fi
"${root[@]}" apt-get update -qq
# Debian's PostgreSQL makes a cluster when it is installed, and starts it. Tests
# make their own, and leave no service behind.
clusters=/etc/postgresql-common/createcluster.d
"${root[@]}" mkdir -p "$clusters"
echo 'create_main_cluster = off' | "${root[@]}" tee "$clusters/quaymaster-tests.conf" >/dev/null
trap '"${root[@]}" rm -f "$clusters/quaymaster-tests.conf"' EXIT
# cloud-init is for its schema: the machine itself is not to be set up by it.
if [[ " ${need[*]} " == *" cloud-init "* ]]; then
	"${root[@]}" mkdir -p /etc/cloud
	"${root[@]}" touch /etc/cloud/cloud-init.disabled
fi
# Its Java registers manual pages, and cannot be installed where slim images
# leave out the place for them.
"${root[@]}" mkdir -p /usr/share/man/man1
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
