#!/usr/bin/env bash
# Builds the packages: deb and rpm, for amd64 and arm64.
#
#   build.sh [DIRECTORY]    into DIRECTORY (default: out/packages); prints their paths
#   build.sh --programs     only out/build/ARCH with the programs; prints these
#
# The same commit gives the same bytes, whoever builds it and when:
# SOURCE_DATE_EPOCH is the commit's own time unless it is set. VERSION is what
# git says unless it is set; Go compiles the same with -trimpath.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cache=${QUAYMASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or QUAYMASTER_CACHE}/.cache}/quaymaster}
nfpm_version=v2.43.4
# ARCHITECTURES says for which, where a test needs one only.
read -ra architectures <<<"${ARCHITECTURES:-amd64 arm64}"

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
VERSION=${VERSION:-$(git -C "$root" describe --tags --always --dirty)}
export SOURCE_DATE_EPOCH

say() { echo "packages: $*" >&2; }

# at FORMAT prints the time of the commit.
at() { date -u -d "@$SOURCE_DATE_EPOCH" "+$1"; }

# package_version prints the version as packages order it: what follows a
# release comes after it, what leads up to it (-rc1) before. Without a release
# there is only the time of the commit.
package_version() {
	local version=${VERSION#v}
	[[ $version =~ ^[0-9]+\.[0-9] ]] || version="0.0.0-git$(at %Y%m%d%H%M%S).$version"
	sed -E 's/-([0-9]+)-g([0-9a-f]+)/+\1.g\2/; s/-dirty$/+dirty/; s/-/~/g' <<<"$version"
}

# nfpm prints the path of nfpm, after building it if need be. It is a module of
# its own: nothing of it is linked into the programs.
nfpm() {
	local path=$cache/nfpm-$nfpm_version
	if [ ! -x "$path/nfpm" ]; then
		say "building nfpm $nfpm_version"
		mkdir -p "$cache"
		(
			flock 9
			[ -x "$path/nfpm" ] || (cd "$cache" && GOFLAGS='' CGO_ENABLED=0 GOBIN=$path go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm_version") >&2
		) 9>"$path.lock"
	fi
	echo "$path/nfpm"
}

# programs DIRECTORY ARCH compiles the two programs.
programs() {
	say "compiling for $2"
	mkdir -p "$1"
	(cd "$root" && GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOOS=linux GOARCH=$2 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" \
		-o "$1/" ./cmd/quaymaster ./cmd/quaymaster-runtime)
}

# common DIRECTORY lays out what all architectures have.
common() {
	local program=$1/host/quaymaster
	mkdir -p "$1"/{host,man,completions,doc,systemd,files}
	(cd "$root" && GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOOS='' GOARCH='' go build -trimpath -ldflags "-X main.version=$VERSION" -o "$program" ./cmd/quaymaster)
	"$program" manual --date "$(at %Y-%m-%d)" "$1/man"
	sed "s/@DATE@/$(at %Y-%m-%d)/; s/@VERSION@/$VERSION/" "$here/files/quaymaster-runtime.8" >"$1/man/quaymaster-runtime.8"
	gzip -9n "$1"/man/*
	local shell
	for shell in bash zsh fish; do
		"$program" completion "$shell" >"$1/completions/quaymaster.$shell"
	done
	cp "$here"/systemd/*.{service,socket,mount} "$1/systemd/"
	cp "$here"/files/{quaymaster.yaml,logrotate,tmpfiles.conf} "$root/docs/config.schema.json" "$1/files/"
	cp -r "$here/files/removed" "$1/files/"
	cp -r "$here/deb" "$here/rpm" "$1/"
	cp "$root/CHANGELOG.md" "$root/LICENSE" "$1/doc/"
	gzip -9nc "$root/CHANGELOG.md" >"$1/doc/changelog.gz"
	gzip -9nc >"$1/doc/changelog.Debian.gz" <<-END
		quaymaster ($(package_version)-1) stable; urgency=medium

		  * Version $VERSION: see changelog.gz for what is new.

		 -- Quaymaster <maintainers@quaymaster.dev>  $(at '%a, %d %b %Y %H:%M:%S +0000')
	END
}

# build DIRECTORY makes the packages there.
build() {
	local work arch kind tool
	tool=$(nfpm)
	work=$(mktemp -d)
	# shellcheck disable=SC2064 # it is local, and gone at the end
	trap "rm -rf '$work'" EXIT
	common "$work"
	mkdir -p "$1"
	for arch in "${architectures[@]}"; do
		programs "$work" "$arch"
		for kind in deb rpm; do
			(cd "$work" && QM_ARCH=$arch QM_VERSION=$(package_version) "$tool" package --config "$here/nfpm.yaml" --packager "$kind" --target "$1" >&2)
		done
	done
	find "$1" -name "quaymaster[-_]$(package_version)-1*" | sort
}

case ${1-} in
--programs)
	for arch in "${architectures[@]}"; do
		programs "$root/out/build/$arch" "$arch"
		echo "$root/out/build/$arch"
	done
	;;
-*)
	echo "usage: build.sh [DIRECTORY | --programs]" >&2
	exit 2
	;;
*)
	build "$(realpath -m "${1:-$root/out/packages}")"
	;;
esac
