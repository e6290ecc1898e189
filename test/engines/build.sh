#!/usr/bin/env bash
# Finds or builds the newest engine for the tests, from the modules in parts:
# dockerd with what it starts, and the docker command with its plugin compose.
#
#   build.sh          print the directory of the programs, building them if need be
#   build.sh --find   print that directory if it exists already, else exit 1
#
# stdout carries the path and nothing else. The directory is kept in
# $QUAYMASTER_CACHE (default: quaymaster/ in the user's cache directory) under
# a name that changes with the files it is built from. It looks as an
# installation does: bin/ is what belongs on the engine's PATH,
# cli/ is a DOCKER_CONFIG with the plugins of the docker command.
# A first build takes about 10 minutes on two cores; afterwards Go's own caches
# make it a minute.
#
# Each program is built inside its own module, by that module's own go.sum.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${QUAYMASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or QUAYMASTER_CACHE}/.cache}/quaymaster}
path=$cache/engine-newest-$(cd "$here" && cat parts build.sh | sha256sum | cut -c1-16)

# The docker command asks for a swarmkit that not every module proxy serves. The
# one that the engine itself is pinned to does as well.
swarmkit='github.com/moby/swarmkit/v2 v2.1.3-0.20260828175525-ad0357aedfca'
swarmkit_sum='h1:8uVbEBts3zzp1dXikCta4qcGWO7hLdNk5UVySQyylCU='
swarmkit_mod='h1:LKFhuIOwIXpAOGpPqGuv2hwujjm0gT4X7boYQJKWnVA='

say() { echo "engines: $*" >&2; }
die() { say "$*"; exit 1; }

find_engine() { [ -d "$path" ] && echo "$path"; }

# module_dir MODULE SUM prints a writable copy of a module, after making sure
# that it is the one that was meant.
module_dir() {
	local module=$1 sum=$2 about
	local dir=$work/src/${module//\//_}
	if [ ! -d "$dir" ]; then
		about=$(cd "$work" && GOWORK=off GOFLAGS= go mod download -json "$module") || die "cannot download $module: ${about:-see above}"
		grep -qF "\"Sum\": \"$sum\"" <<<"$about" || die "$module is not the module whose checksum is $sum: $about"
		cp -r "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$about")" "$dir"
		chmod -R u+w "$dir"
		[ -e "$dir/go.mod" ] || as_module "$dir"
	fi
	echo "$dir"
}

# as_module DIR makes a module of the docker command, which keeps its list of
# modules under another name.
as_module() {
	mv "$1/vendor.mod" "$1/go.mod"
	mv "$1/vendor.sum" "$1/go.sum"
	(cd "$1" && GOWORK=off go mod edit -replace "${swarmkit%% *}=${swarmkit/ /@}")
	printf '%s %s\n%s/go.mod %s\n' "$swarmkit" "$swarmkit_sum" "$swarmkit" "$swarmkit_mod" >>"$1/go.sum"
}

# build_part PROGRAM MODULE SUM PACKAGE [FLAG...]
build_part() {
	local program=$1 module=$2 sum=$3 package=$4 dir cgo=0
	shift 4
	dir=$(module_dir "$module" "$sum")
	[ "$program" = runc ] && cgo=1
	say "compiling $program of $module"
	(cd "$dir" && CGO_ENABLED=$cgo GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false" go build -trimpath "$@" -o "$work/engine/bin/$program" "$package") >&2
}

build() {
	pkg-config --exists libseccomp || die "runc needs libseccomp-dev and pkg-config: run test/setup.sh engines"
	work=$(mktemp -d "$cache/engine-newest-build.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mkdir -p "$work/src" "$work/engine/bin" "$work/engine/cli/cli-plugins"
	local part
	while read -r -a part; do
		build_part "${part[@]}" </dev/null
	done < <(grep -v '^#' "$here/parts")
	mv "$work/engine/bin/docker-compose" "$work/engine/cli/cli-plugins/"
	echo '{}' >"$work/engine/cli/config.json"
	chmod 755 "$work/engine"
	mv "$work/engine" "$path"
}

case ${1-} in
--find) find_engine || exit 1 ;;
'')
	find_engine && exit
	mkdir -p "$cache"
	# One build at a time; whoever waited finds it built.
	exec 9>"$cache/engine-newest.lock"
	flock 9
	find_engine && exit
	build
	echo "$path"
	;;
*) die "usage: build.sh [--find]" ;;
esac
