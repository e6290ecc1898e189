#!/usr/bin/env bash
# Finds or builds Packer and its plugins, with which tests read the templates in
# packaging/image; prints the directory: packer lies in it, and plugins/ as
# PACKER_PLUGIN_PATH takes it. It is kept in $QUAYMASTER_CACHE (default:
# quaymaster/ in the user's cache directory) under a name that changes with what
# it is built from. The first build takes about 6 minutes on two cores.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${QUAYMASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or QUAYMASTER_CACHE}/.cache}/quaymaster}
path=$cache/packer-$(cd "$here" && cat go.mod go.sum build.sh | sha256sum | cut -c1-16)
plugins=(amazon azure googlecompute qemu)

# compile OUT MODULE [FLAGS] builds a program of a module that go.mod pins.
compile() {
	(cd "$here" && CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false" go build -trimpath -ldflags="-s -w ${3-}" -o "$1" "$2") >&2
}

build() {
	local work=$1 name module version file
	compile "$work/packer" github.com/hashicorp/packer
	for name in "${plugins[@]}"; do
		module=github.com/hashicorp/packer-plugin-$name
		version=$(cd "$here" && GOWORK=off go list -mod=readonly -m -f '{{.Version}}' "$module")
		# Packer's own layout: plugin, version, version of its protocol, system.
		file=$work/plugins/github.com/hashicorp/$name/packer-plugin-${name}_${version}_x5.0_linux_$(go env GOARCH)
		mkdir -p "$(dirname "$file")"
		# A released module's source may still call itself "dev".
		compile "$file" "$module" "-X $module/version.VersionPrerelease="
		sha256sum "$file" | cut -d' ' -f1 | tr -d '\n' >"${file}_SHA256SUM"
	done
}

mkdir -p "$cache"
exec 9>"$cache/packer.lock"
flock 9
if [ ! -d "$path" ]; then
	echo "packer: compiling Packer and ${#plugins[@]} plugins" >&2
	rm -rf "$path.unfinished"
	mkdir "$path.unfinished"
	build "$path.unfinished"
	mv "$path.unfinished" "$path"
fi
echo "$path"
