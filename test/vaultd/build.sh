#!/usr/bin/env bash
# Finds or builds the Vault server of the tests.
#
#   build.sh          print the path of a usable binary, building it if need be
#   build.sh --find   print that path if the binary exists already, else exit 1
#
# stdout carries the path and nothing else. The binary is the `vault` on PATH
# if there is one, else one built from this module and kept in
# $QUAYMASTER_CACHE (default: quaymaster/ in the user's cache directory) under
# a name that changes with the files it is built from.
# A first build downloads for 2-3 minutes and compiles for about 10 on two
# cores; afterwards Go's own caches make it a minute.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${QUAYMASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or QUAYMASTER_CACHE}/.cache}/quaymaster}

# Vault replaces its sdk by the ./sdk of its own tree. As a dependency it loses
# that replacement, and no published sdk matches: this one does, but for one
# parameter of one function type.
sdk=github.com/hashicorp/vault/sdk@v0.21.0

say() { echo "vaultd: $*" >&2; }
die() { say "$*"; exit 1; }

built_path() {
	local hash
	hash=$(cd "$here" && cat go.mod go.sum main.go build.sh | sha256sum | cut -c1-16)
	echo "$cache/vaultd-$hash"
}

find_binary() {
	local path
	if path=$(command -v vault) && "$path" version >&2; then
		echo "$path"
		return
	fi
	path=$(built_path)
	[ -x "$path" ] && echo "$path"
}

# patched_sdk DIR puts the patched sdk into DIR.
patched_sdk() {
	local dir=$1 about
	# With this module's go.sum beside it, go refuses an sdk that is not the pinned one.
	mkdir "$work/fetch"
	cp "$here/go.sum" "$work/fetch"
	about=$(cd "$work/fetch" && go mod init fetch 2>/dev/null && GOWORK=off go mod download -json "$sdk") ||
		die "cannot download $sdk: ${about:-see above}"
	cp -r "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$about")" "$dir"
	chmod -R u+w "$dir"
	sed -i 's/\(ActivationFunc func(context.Context, \*logical.Request\), string)/\1)/' "$dir/framework/backend.go"
	grep -q 'ActivationFunc func(context.Context, \*logical.Request) error' "$dir/framework/backend.go" ||
		die "$sdk: ActivationFunc does not look as expected; compare sdk/framework/backend.go of Vault's tree"
}

build() {
	local out=$1
	work=$(mktemp -d "$cache/vaultd-build.XXXXXX")
	# The module cache is read-only, and so may be what was copied from it.
	trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
	cp "$here/go.mod" "$here/go.sum" "$here/main.go" "$work"
	chmod u+w "$work"/*
	patched_sdk "$work/sdk-patched"
	say "compiling Vault (about 10 minutes the first time, a minute later)"
	(cd "$work" && GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false" go build -trimpath -ldflags='-s -w' -o vaultd .) >&2
	"$work/vaultd" version >&2
	mv "$work/vaultd" "$out"
}

case ${1-} in
--find) find_binary || exit 1 ;;
'')
	find_binary && exit
	mkdir -p "$cache"
	# One build at a time; whoever waited finds it built.
	exec 9>"$cache/vaultd.lock"
	flock 9
	find_binary && exit
	path=$(built_path)
	build "$path"
	echo "$path"
	;;
*) die "usage: build.sh [--find]" ;;
esac
