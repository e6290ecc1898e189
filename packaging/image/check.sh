#!/usr/bin/env bash
# Looks for what must not be in an image, and names each: what would make two
# machines of that image the same, and what is a secret or looks like one.
#
#   check.sh [ROOT]    ROOT is where the image's files are (default: /)
#
# It changes nothing and runs nothing of the image. Exit codes: 0 nothing found,
# 1 something found, 2 wrong usage. It knows places and shapes; a secret that has
# neither it does not find.
set -euo pipefail
export LC_ALL=C
shopt -s nullglob dotglob

if [ $# -gt 1 ] || [ ! -d "${1:-/}" ]; then
	echo "usage: check.sh [ROOT]" >&2
	exit 2
fi
cd "${1:-/}"

found=0
# tell FILE WHAT names a finding.
tell() {
	echo "check: /$1: $2"
	found=$((found + 1))
}

# filled WHAT FILE... names each that is a file with something in it. Links are
# not followed: in an image that is not booted they lead elsewhere.
filled() {
	local what=$1 file
	shift
	for file in "$@"; do
		if [ ! -L "$file" ] && [ -f "$file" ] && [ -s "$file" ]; then tell "$file" "$what"; fi
	done
}

# below WHAT DIRECTORY... names each that is not empty.
below() {
	local what=$1 dir
	shift
	for dir in "$@"; do
		if [ ! -L "$dir" ] && [ -d "$dir" ] && [ -n "$(find "$dir" -xdev -mindepth 1 ! -type d -print -quit)" ]; then tell "$dir" "$what"; fi
	done
}

# saying WHAT PATTERN FILE... names each that has such a line.
saying() {
	local what=$1 pattern=$2 file
	shift 2
	for file in "$@"; do
		if [ ! -L "$file" ] && [ -f "$file" ] && grep -Eqs -e "$pattern" "$file"; then tell "$file" "$what"; fi
	done
}

# ---------------------------------------------------------------- identity

if ! grep -qsx uninitialized etc/machine-id; then
	filled "every machine would have this machine-id: empty the file" etc/machine-id
fi
filled "every machine would have this machine-id: remove it" var/lib/dbus/machine-id
filled "every machine would have this host key" etc/ssh/ssh_host_*_key etc/dropbear/dropbear_*_host_key
filled "every machine would begin with this seed" var/lib/systemd/random-seed var/lib/random-seed var/lib/urandom/random-seed \
	{boot,boot/efi,efi}/loader/random-seed
filled "every machine would seal with this key of systemd-creds" var/lib/systemd/credential.secret
filled "every machine would have this key of the engine" etc/docker/key.json
filled "every machine would be this engine" var/lib/docker/engine-id
filled "every machine would have this network of the engine" var/lib/docker/network/files/local-kv.db
below "every machine would be this node of the swarm" var/lib/docker/swarm
below "every machine would have these containers" var/lib/docker/containers
below "every machine would have these volumes, and what containers kept there" var/lib/docker/volumes/*/_data
below "cloud-init would take every machine for this instance" var/lib/cloud/{instance,instances,data,sem,seed}
[ ! -L var/lib/cloud/instance ] || tell var/lib/cloud/instance "cloud-init would take every machine for this instance"
saying "cloud-init would take every machine for this instance, or give it these users" \
	'^[[:space:]-]*(instance[-_]id|userdata_raw|ssh_authorized_keys|hashed_passwd|passwd|plain_text_passwd)[[:space:]]*:' etc/cloud/cloud.cfg etc/cloud/cloud.cfg.d/*.cfg
filled "every machine would ask for this address" var/lib/dhcp/*.leases var/lib/dhclient/*.lease* var/lib/dhcpcd/*.lease* var/lib/NetworkManager/*.lease
filled "DHCP would take every machine for this one" var/lib/dhcpcd/{duid,secret} etc/dhcpcd.{duid,secret} etc/dhcp/dhclient.duid var/lib/NetworkManager/secret_key
filled "every machine would have the network card of this one" etc/udev/rules.d/70-persistent-net.rules
filled "every machine would be this client of storage" etc/nvme/{hostid,hostnqn}
saying "every machine would be this client of storage" '^InitiatorName=' etc/iscsi/initiatorname.iscsi
filled "every machine would have this key, which a package made for this one" etc/ssl/private/ssl-cert-snakeoil.key
filled "Google's agent would take every machine for this instance" etc/default/instance_configs.cfg etc/google_instance_id
below "Azure's agent would take every machine for this instance" var/lib/waagent
filled "every machine would be this one in that network" var/lib/tailscale/tailscaled.state
filled "every machine would have this name" etc/salt/minion_id
name=$(head -n 1 etc/hostname 2>/dev/null || true)
case $name in
'' | localhost | localhost.localdomain) ;;
*) tell etc/hostname "every machine would be called $name" ;;
esac
below "the journal of the machine that the image was made from" var/log/journal
below "what Quaymaster knew of this host" var/lib/quaymaster
below "what Quaymaster did on this host" var/log/quaymaster
filled "what Quaymaster was told as this instance" etc/quaymaster/conf.d/00-instance.yaml

# ---------------------------------------------------------------- secrets

while IFS=: read -r user password _; do
	case $password in
	'*'* | '!'*) ;;
	'') tell etc/shadow "$user needs no password" ;;
	*) tell etc/shadow "the password of $user would be that of every machine" ;;
	esac
done < <(cat etc/shadow 2>/dev/null || true)

for home in root home/* var/lib/postgresql; do
	filled "whoever has that key comes into every machine" "$home"/.ssh/authorized_keys*
	filled "a login of the engine at a registry" "$home"/.docker/.token_seed
	saying "a login at a registry" '"(auth|identitytoken|registrytoken|password)"[[:space:]]*:[[:space:]]*"[^"]' "$home"/.docker/config.json "$home"/.dockercfg "$home"/.config/containers/auth.json
	filled "credentials for AWS" "$home"/.aws/credentials "$home"/.boto "$home"/.s3cfg
	below "a session at AWS" "$home"/.aws/{sso,cli}/cache
	filled "credentials for Azure" "$home"/.azure/{accessTokens.json,service_principal_entries.json,service_principal_entries.bin} "$home"/.azure/msal_token_cache.*
	filled "credentials for Google Cloud" "$home"/.config/gcloud/{credentials.db,access_tokens.db,application_default_credentials.json}
	below "credentials for Google Cloud" "$home"/.config/gcloud/legacy_credentials
	filled "a token of Vault" "$home"/.vault-token
	filled "a password" "$home"/.netrc "$home"/.pgpass "$home"/.git-credentials "$home"/.pypirc
	saying "a password" '^[[:space:]]*password' "$home"/.my.cnf
	saying "a token" '_(authToken|password|auth)[[:space:]]*=' "$home"/.npmrc
	filled "a login of a cluster" "$home"/.kube/config
	filled "a token of Terraform" "$home"/.terraform.d/credentials.tfrc.json "$home"/.terraformrc
	below "private keys" "$home"/.gnupg/private-keys-v1.d
	filled "what was typed here, perhaps a secret" "$home"/.{bash,ash,zsh,python,psql,mysql,sqlite}_history
done
filled "a private key" var/lib/shim-signed/mok/MOK.priv
filled "a secret" etc/credstore/*
saying "a password" '^(psk|password|private-key|wep-key[0-9])=' etc/NetworkManager/system-connections/*
saying "a host with a static identity holds a token" '^[[:space:]]*allow_static_identity[[:space:]]*:[[:space:]]*(true|yes|on)' etc/quaymaster/quaymaster.yaml etc/quaymaster/conf.d/*.yaml

# files prints those in which administrators and builds leave things.
files() {
	local dir dirs=()
	for dir in etc root home opt srv usr/local var/lib var/www; do
		if [ -d "$dir" ]; then dirs+=("$dir"); fi
	done
	find "${dirs[@]}" -xdev \( -path var/lib/docker -o -path var/lib/containerd -o -path var/lib/dpkg -o -path var/lib/rpm -o -path var/lib/apt -o -path var/lib/dnf \
		-o -path root/.ssh/authorized_keys -o -path etc/ssh -o -path etc/ssl/private/ssl-cert-snakeoil.key -o -path var/lib/waagent \) -prune -o -type f "$@" -print0
}

while IFS= read -r -d '' file; do
	tell "$file" "by its name it holds settings with secrets"
done < <(files -size +0 \( -name .env -o -name '.env.*' -o -name '*.p12' -o -name '*.pfx' \) ! -name '.env.example' ! -name '.env.sample')

# Shapes of what no image may hold. One line of a file is enough.
shapes=(
	'^[[:space:]"]*-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----' # PEM, OpenSSH, PGP
	'^PuTTY-User-Key-File-'
	'"private_key"[[:space:]]*:[[:space:]]*"-----BEGIN'                # a service account of Google
	'(^|[^A-Za-z0-9])(AKIA|ASIA)[A-Z2-7]{16}([^A-Za-z0-9]|$)'          # AWS
	'(^|[^A-Za-z0-9_])aws_(secret_access_key|session_token)[[:space:]]*=[[:space:]]*[^[:space:]]'
	'(AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{30,}='                 # Azure
	'(^|[^A-Za-z0-9])hv[sbr]\.[A-Za-z0-9_-]{24,}'                      # Vault
	'(^|[^A-Za-z0-9])(gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})'
	'(^|[^A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}'
	'(^|[^A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{20,}'
	'^[[:space:]]*PrivateKey[[:space:]]*=[[:space:]]*[A-Za-z0-9+/]{43}=' # WireGuard
)
while IFS= read -r file; do
	tell "$file" "it holds a private key, or a token or key of the shape that a cloud, Vault or a forge gives out"
done < <(files -size -2048k -size +0 | xargs -0 -r grep -lIE "${shapes[@]/#/-e}" -- || true)

if [ "$found" -gt 0 ]; then
	echo "check: $found found; no image may be made from this" >&2
	exit 1
fi
