#!/usr/bin/env bash
# Prints the path of a tarball with a small Debian that has systemd, in which
# packages can be installed without anything that runs; makes it by mmdebstrap
# from this machine's own package sources, once.
#
#   root.sh                     the one in which our packages are tried
#   root.sh NAME PACKAGE...     another one, of that name, with these packages
set -euo pipefail

cache=${QUAYMASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or QUAYMASTER_CACHE}/.cache}/quaymaster}
[ $# -gt 0 ] || set -- packages systemd logrotate
name=$1
shift
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?this is no Debian}")
path=$cache/$name-$(cat "${BASH_SOURCE[0]}" <(echo "$suite" "$@") | sha256sum | cut -c1-16).tar

mkdir -p "$cache"
exec 9>"$cache/$name.lock"
flock 9
if [ ! -e "$path" ]; then
	# How this machine reaches its package sources; mmdebstrap takes none of it by itself.
	options=()
	while read -r setting; do
		options+=("--aptopt=$setting")
	done < <(apt-config dump --format '%F "%v";%n' Acquire | grep -E '^Acquire::(https?::|Check-|Retries )' | grep -v '"";$' || true)
	shopt -s nullglob
	mmdebstrap --variant=minbase --mode=root --format=tar --quiet --include="$(IFS=, && echo "$*")" \
		--aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/locale/*' "${options[@]}" \
		"$suite" "$path.unfinished" /etc/apt/sources.lis[t] /etc/apt/sources.list.d/*.{list,sources} >&2
	mv "$path.unfinished" "$path"
fi
echo "$path"
