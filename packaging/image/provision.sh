#!/usr/bin/env bash
# Makes the machine it runs on the image of a host: a Docker Engine, Quaymaster
# and its gate, all enabled for the first boot; then takes away whatever two
# machines made from that image would share. For a machine that Packer started
# and for a chroot alike; Debian and its kin, and RPM systems with dnf.
#
#   provision.sh --package FILE [--no-docker] [--gate runtime|none] [--keep-swap]
#                [--keep-images] [--keep-identity]
#
#   --package FILE    the deb or rpm of Quaymaster
#   --no-docker       install no engine: the image has or gets one by other means
#   --gate none       do not enter the runtime gate into daemon.json
#   --keep-swap       leave swap as it is (then Linux 6.4 or newer is needed)
#   --keep-images     keep the images that were pulled into the engine
#   --keep-identity   stop before the identity is taken away: for a machine that
#                     is itself the host
#
# It can be run again. A step that fails ends it, and says what to do. It must be
# the last thing that is done to the image: what runs afterwards may leave
# identity behind, which check.sh beside it finds.
set -euo pipefail
umask 022
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive
shopt -s nullglob dotglob

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package='' docker=yes gate=runtime keep_swap='' keep_images='' keep_identity=''

say() { echo "provision: $*"; }
die() { echo "provision: $*" >&2; exit 1; }
usage() {
	echo "usage: provision.sh --package FILE [--no-docker] [--gate runtime|none] [--keep-swap] [--keep-images] [--keep-identity]" >&2
	exit 2
}
have() { command -v "$1" >/dev/null; }
systemd_runs() { [ -d /run/systemd/system ]; }

# What was not foreseen ends it too, and not in silence.
set -E
trap 'echo "provision: line $LINENO failed: $BASH_COMMAND: see above; mend that, then run this again" >&2' ERR

while [ $# -gt 0 ]; do
	case $1 in
	--package) [ $# -gt 1 ] || usage; package=$2; shift ;;
	--gate) [ $# -gt 1 ] || usage; gate=$2; shift ;;
	--no-docker) docker='' ;;
	--keep-swap) keep_swap=yes ;;
	--keep-images) keep_images=yes ;;
	--keep-identity) keep_identity=yes ;;
	*) usage ;;
	esac
	shift
done
[ "$gate" = runtime ] || [ "$gate" = none ] || usage
[ -n "$package" ] || usage

# ---------------------------------------------------------------- before all

look() {
	[ "$(id -u)" = 0 ] || die "this changes the whole system: run it as root"
	[ -r "$package" ] || die "the package $package cannot be read: name a file that is in the image, or copy it there first"
	package=$(realpath "$package")
	have systemctl || die "there is no systemctl: Quaymaster's hosts need systemd; install it, or take an image that has it"
	case $package in
	*.deb) have apt-get || die "$package is for Debian, and there is no apt-get here: give the rpm" ;;
	*.rpm) have dnf || die "$package is for RPM systems, and there is no dnf here: give the deb, or install dnf" ;;
	*) die "$package is neither a .deb nor an .rpm" ;;
	esac
	[ -x "$here/check.sh" ] || [ -n "$keep_identity" ] || die "check.sh is not beside this script: copy all of packaging/image"
}

# quiet_packages has Debian's packages start nothing: in a chroot there is
# nothing to start with, and an engine that ran once has an identity.
quiet_packages() {
	[ -e /usr/sbin/policy-rc.d ] && return
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 0755 /usr/sbin/policy-rc.d
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

# first_boot_is_over waits for cloud-init, which has the package sources
# otherwise change under our hands, and for Debian's own upgrades, which lock the
# packages just then.
first_boot_is_over() {
	if systemd_runs && have apt-get; then
		systemctl stop --quiet apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service 2>/dev/null || true
	fi
	if systemd_runs && have cloud-init; then
		timeout 600 cloud-init status --wait >/dev/null || say "cloud-init is not content with this boot; that is left to whoever made it"
	fi
}

# ---------------------------------------------------------------- packages

# apt_needs installs what is not there; without lists only if there is something.
apt_needs() {
	local name missing=()
	for name in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null)" = 'ii ' ] || missing+=("$name")
	done
	[ ${#missing[@]} -eq 0 ] && return
	say "installing ${missing[*]}"
	apt-get update -qq || die "the package lists cannot be read: the image needs a way to its package sources (/etc/apt/sources.list.d, proxy)"
	apt-get install -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}" >/dev/null ||
		die "${missing[*]} cannot be installed: see above, then run this again"
}

dnf_needs() {
	local name missing=()
	for name in "$@"; do
		rpm -q --quiet --whatprovides "$name" || missing+=("$name")
	done
	[ ${#missing[@]} -eq 0 ] && return
	say "installing ${missing[*]}"
	dnf -y -q install "${missing[@]}" || die "${missing[*]} cannot be installed: see above, then run this again"
}

# first_of prints the first of the packages that the configured sources have.
first_of() {
	local name
	for name in "$@"; do
		if have apt-get; then
			if [ -n "$(apt-cache policy "$name" | sed -n '/^  Candidate: [^(]/p')" ]; then echo "$name" && return; fi
		elif [ -n "$(dnf -q list --available "$name" 2>/dev/null)" ]; then
			echo "$name" && return
		fi
	done
	return 1
}

# install_engine takes the engine of the sources that the image has: Docker's own
# where its repository was added, else the distribution's.
install_engine() {
	local name
	[ -n "$docker" ] || return 0
	if ! have dockerd; then
		if have apt-get; then
			apt-get update -qq || die "the package lists cannot be read: the image needs a way to its package sources (/etc/apt/sources.list.d, proxy)"
			name=$(first_of docker-ce docker.io) || die "no source of packages has docker-ce or docker.io: add one, or install an engine and say --no-docker"
			apt_needs "$name"
		else
			name=$(first_of docker-ce moby-engine docker) || die "no source of packages has docker-ce, moby-engine or docker: add Docker's repository, or install an engine and say --no-docker"
			dnf_needs "$name"
		fi
		have dockerd || die "$name brought no dockerd: install an engine by other means and say --no-docker"
	fi
	# Debian's kernel has AppArmor switched on, and its engine starts no container
	# without the program that loads profiles.
	have apt-get && apt_needs apparmor iptables
	systemctl enable --quiet docker.service || die "docker.service cannot be enabled: an engine without a unit does not start at boot; install one that has it"
}

install_package() {
	local wanted got
	case $package in
	*.deb)
		apt_needs ca-certificates logrotate
		wanted=$(dpkg-deb --field "$package" Version) || die "$package is no package of Debian"
		apt-get install -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 --no-install-recommends --allow-downgrades "$package" >/dev/null || die "$package cannot be installed: see above; is it for $(dpkg --print-architecture)?"
		got=$(dpkg-query -W -f '${Version}' quaymaster)
		;;
	*.rpm)
		dnf_needs ca-certificates logrotate
		wanted=$(rpm -qp --nosignature --qf '%{EVR}' "$package") || die "$package is no rpm"
		dnf -y -q install "$package" || die "$package cannot be installed: see above; is it for $(uname -m)?"
		got=$(rpm -q --qf '%{EVR}' quaymaster)
		[ "$got" = "$wanted" ] || { dnf -y -q downgrade "$package"; got=$(rpm -q --qf '%{EVR}' quaymaster); }
		;;
	esac
	[ "$got" = "$wanted" ] || die "quaymaster is of version $got and not $wanted: is it held back, or excluded?"
	say "quaymaster $got"
}

# ---------------------------------------------------------------- settings

# as_booted prints a directory with the configuration as a first boot will find
# it. What is baked in need not be whole: where no file says where secrets are, the
# instance's tags or user-data will. What a boot wrote there is not the image's.
as_booted() {
	local dir
	dir=$(mktemp -d)
	cp -a /etc/quaymaster/. "$dir"
	rm -f "$dir/conf.d/00-instance.yaml"
	if ! grep -Eqs '^(vault|providers):' "$dir"/quaymaster.yaml "$dir"/conf.d/*.yaml; then
		mkdir -p "$dir/conf.d"
		echo 'vault: {address: "https://first.boot.invalid:8200", role: first-boot}' >"$dir/conf.d/99-first-boot.yaml"
	fi
	echo "$dir"
}

enter_gate() {
	local dir
	dir=$(as_booted)
	quaymaster validate --config "$dir/quaymaster.yaml" >/dev/null 2>"$dir/said" ||
		{ cat "$dir/said" >&2; rm -rf "$dir"; die "the configuration in the image is wrong: mend /etc/quaymaster, or leave it out and let the first boot bring it"; }
	if [ "$gate" = runtime ]; then
		# Without an engine that runs it says that the change takes effect at its start.
		quaymaster install docker-runtime --config "$dir/quaymaster.yaml" || { rm -rf "$dir"; die "the runtime gate is not entered: see above"; }
	fi
	rm -rf "$dir"
}

# enable_units enables whatever the package has for systemd. On RPM systems
# nothing is enabled by itself; on Debian this repairs what was disabled.
enable_units() {
	local unit units=()
	for unit in /usr/lib/systemd/system/{quaymaster,run-quaymaster-}*.{service,socket,mount}; do
		if grep -q '^\[Install\]' "$unit"; then units+=("$(basename "$unit")"); fi
	done
	[ ${#units[@]} -gt 0 ] || die "the package brought no units: is it Quaymaster's?"
	systemctl enable --quiet "${units[@]}" || die "the units cannot be enabled: is one masked? (systemctl unmask)"
}

# no_swap: secrets in memory must not reach a disk. The trees have noswap from
# Linux 6.4; on older kernels the agent does not run while swap is on.
no_swap() {
	local file
	[ -z "$keep_swap" ] || return 0
	if systemd_runs; then
		swapoff -a || die "swap cannot be turned off: give the machine more memory, or say --keep-swap"
	fi
	if [ -e /etc/fstab ]; then
		while read -r file; do
			if [ -f "$file" ]; then rm -f "$file"; fi
		done < <(awk '$1 ~ /^\// && $3 == "swap" {print $1}' /etc/fstab)
		sed -i -E '/^[^#[:space:]]+[[:space:]]+[^[:space:]]+[[:space:]]+swap([[:space:]]|$)/s/^/# no swap on hosts with secrets in memory: /' /etc/fstab
	fi
	if [ -e /etc/waagent.conf ]; then # Azure's agent makes one on the resource disk
		sed -i 's/^ResourceDisk.EnableSwap=y.*/ResourceDisk.EnableSwap=n/' /etc/waagent.conf
	fi
	# Partitions of that kind are found without fstab; zram lies in memory, but the
	# agent cannot tell it from a disk.
	systemctl mask --quiet swap.target
}

# make_host_keys: somebody must make the keys of sshd that are taken away here.
# cloud-init does, Google's agent does, newer packages do; else a unit of ours.
make_host_keys() {
	have sshd && ! have cloud-init && ! have google_guest_agent || return 0
	local unit
	for unit in /usr/lib/systemd/system/sshd-keygen*.service /lib/systemd/system/sshd-keygen*.service; do return 0; done
	cat >/etc/systemd/system/ssh-host-keys.service <<-'END'
		# The image has no keys: each machine makes its own.
		[Unit]
		Description=Keys of this host for sshd
		Before=ssh.service sshd.service
		ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

		[Service]
		Type=oneshot
		ExecStart=/usr/bin/ssh-keygen -A

		[Install]
		WantedBy=multi-user.target
	END
	systemctl enable --quiet ssh-host-keys.service
}

# ---------------------------------------------------------------- identity

# inside empties directories.
inside() {
	local dir
	for dir in "$@"; do
		if [ -d "$dir" ]; then find "$dir" -xdev -mindepth 1 -delete; fi
	done
}

# stop_writers ends what would write identity again, now or when the machine that
# the image is made from is shut down.
stop_writers() {
	systemd_runs || return 0
	local unit
	for unit in docker.socket docker.service containerd.service quaymaster.socket quaymaster-runtime.socket quaymaster-plugin.socket quaymaster.service \
		syslog.socket rsyslog.service walinuxagent.service waagent.service google-guest-agent.service; do
		systemctl stop --quiet "$unit" 2>/dev/null || true
	done
	mkdir -p /run/systemd/journald.conf.d /run/systemd/system/systemd-random-seed.service.d
	printf '[Journal]\nStorage=volatile\n' >/run/systemd/journald.conf.d/image.conf
	# Its stop saves the seed, and the machine is still to be stopped.
	printf '[Service]\nExecStop=\n' >/run/systemd/system/systemd-random-seed.service.d/image.conf
	systemctl daemon-reload
	systemctl restart systemd-journald.service
}

# engine_state is what an engine knows of itself and made: its name in a swarm,
# containers, networks. Images only are of use to the next machine.
engine_state() {
	local root entry
	root=''
	if [ -e /etc/docker/daemon.json ]; then # it may keep its state elsewhere
		root=$(sed -n 's/.*"data-root"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' /etc/docker/daemon.json)
	fi
	rm -f /etc/docker/key.json
	for root in /var/lib/docker ${root:+"$root"}; do
		if [ -z "$keep_images" ]; then
			inside "$root"
			continue
		fi
		for entry in "$root"/containers/*; do
			die "the container $(basename "$entry") is there, and of its layers one cannot keep the images alone: docker rm -f it, then run this again"
		done
		for entry in "$root"/*; do
			case ${entry##*/} in
			image | overlay2 | containerd) ;;
			*) rm -rf "$entry" ;;
			esac
		done
	done
	[ -n "$keep_images" ] || inside /var/lib/containerd
}

# host_identity is what systemd, ssh, DHCP and the clouds' own agents know a
# machine by. resolv.conf stays: it is often all that a first boot has.
host_identity() {
	if have cloud-init; then
		cloud-init clean --logs >/dev/null || die "cloud-init clean failed: see above"
	fi
	inside /var/lib/cloud
	# Empty, not gone: systemd then makes a new one, but does not take this for the
	# first boot of all, at which it sets every unit back to the distribution's
	# presets; on RPM systems these disable Docker and Quaymaster. machine-id(5).
	rm -f /etc/machine-id
	install -m 0444 /dev/null /etc/machine-id
	rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*
	rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /boot/loader/random-seed /boot/efi/loader/random-seed /efi/loader/random-seed
	rm -f /var/lib/random-seed /var/lib/urandom/random-seed
	inside /var/lib/systemd/coredump /var/lib/systemd/pstore /var/lib/systemd/timers
	rm -f /var/lib/dhcp/*.leases /var/lib/dhclient/*.lease* /var/lib/dhcpcd/* /etc/dhcpcd.duid /etc/dhcpcd.secret /etc/dhcp/dhclient.duid
	rm -f /var/lib/NetworkManager/{secret_key,seen-bssids,timestamps,NetworkManager.state} /var/lib/NetworkManager/*.lease
	rm -f /etc/nvme/hostid /etc/nvme/hostnqn /etc/udev/rules.d/70-persistent-net.rules
	if [ -e /etc/iscsi/initiatorname.iscsi ]; then
		echo 'GenerateName=yes' >/etc/iscsi/initiatorname.iscsi
	fi
	# A key that a package made for itself. Its unit makes it anew (ssl-cert).
	rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
	inside /var/lib/waagent /var/lib/amazon/ssm /var/lib/google /var/lib/chrony
	rm -f /etc/default/instance_configs.cfg /etc/google_instance_id
	host_name
}

# host_name: a name in the image would go before what DHCP and metadata say.
host_name() {
	local name=''
	if [ -s /etc/hostname ]; then name=$(head -n 1 /etc/hostname); fi
	case $name in
	'' | localhost | localhost.localdomain) return 0 ;;
	esac
	rm -f /etc/hostname
	if grep -qsF "$name" /etc/hosts; then
		# Where /etc/hosts is a mount it cannot be replaced, only written.
		local rest
		rest=$(awk -v name="$name" '{for (i = 2; i <= NF; i++) if ($i == name) next; print}' /etc/hosts)
		printf '%s\n' "$rest" >/etc/hosts
	fi
}

# quaymaster_state goes; what is baked into /etc/quaymaster stays, but for what a
# boot wrote there.
quaymaster_state() {
	inside /var/lib/quaymaster /var/log/quaymaster
	rm -f /etc/quaymaster/conf.d/00-instance.yaml
}

# users: no key, password or history of whoever built this.
users() {
	local name password home
	while IFS=: read -r name password _; do
		case $password in
		'*'* | '!'*) ;;
		*)
			say "the password of $name is locked: one that is in the image works on every machine"
			usermod -p '!*' "$name"
			;;
		esac
	done </etc/shadow
	for home in /root /home/*; do
		rm -rf "$home"/.ssh/{authorized_keys,authorized_keys2,known_hosts,known_hosts.old} "$home"/.{bash,ash,zsh,python,psql,mysql,sqlite}_history "$home"/.{lesshst,viminfo,wget-hsts,ansible,sudo_as_admin_successful}
	done
}

# leftovers of the build: logs, caches, lists, temporary files.
leftovers() {
	if have apt-get; then
		apt-get clean
		inside /var/lib/apt/lists
	fi
	if have dnf; then dnf -q clean all || true; fi
	inside /var/cache/dnf /var/log/journal /var/lib/apt/periodic
	rm -rf /root/.cache /home/*/.cache
	find /var/log -xdev -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.old' -o -name '*.[0-9]' -o -name '*-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]' \) -delete
	find /var/log -xdev -type f -exec truncate -s 0 {} +
	# Not from under our own feet.
	find /tmp /var/tmp -xdev -mindepth 1 -depth ! -path "$here" ! -path "$here/*" ! -path "$package" -delete 2>/dev/null || true
}

take_identity() {
	stop_writers
	engine_state
	quaymaster_state
	users
	leftovers
	host_identity
	# The last word of those who wrote while we cleaned.
	sync
	"$here/check.sh" / || die "the image still holds what is named above: take it away, or end what writes it, then run this again"
}

look
first_boot_is_over
quiet_packages
install_engine
install_package
enter_gate
enable_units
no_swap
make_host_keys
if [ -n "$keep_identity" ]; then
	say "done; this machine keeps its identity, so no image may be made from it"
	exit 0
fi
take_identity
say "done: power the machine off and make the image"
