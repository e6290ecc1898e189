#!/usr/bin/env bash
# Finds or builds the Terraform and the providers of the tests.
#
#   build.sh terraform   print the path of a usable terraform, building it if need be
#   build.sh provider    print the path of the Vault provider, building it if need be
#   build.sh mirror      the same, but of the filesystem mirror that it lies in
#   build.sh --find …    print that path if it exists already, else exit 1
#
# stdout carries the path and nothing else. terraform is the one on PATH if that
# is 1.11 or newer. What is built comes from Go modules and is kept in
# $QUAYMASTER_CACHE (default: quaymaster/ in the user's cache directory), under
# names with their versions. A first build of each takes 6 to 10 minutes on two
# cores.
set -euo pipefail

cache=${QUAYMASTER_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or QUAYMASTER_CACHE}/.cache}/quaymaster}

terraform=1.11.4
# Terraform replaces modules inside its own tree by that tree, and as a dependency
# loses these replacements. They are published too, as of that release's commit.
commit=v0.0.0-20250409131005-35645b8fca68
inside=(backend/remote-state/{azure,consul,cos,gcs,kubernetes,oss,pg,s3} legacy)

provider=5.9.0
# That release's own tag is of a major version that its module path does not
# have, so Go knows it as a commit.
provider_module=github.com/hashicorp/terraform-provider-vault@v1.9.1-0.20260422134934-5e9fcd457a99

say() { echo "terraform: $*" >&2; }
die() { say "$*"; exit 1; }

# new_enough PATH
new_enough() {
	local minor
	minor=$("$1" version -json 2>/dev/null | sed -n 's/.*"terraform_version": *"1\.\([0-9]*\)\..*/\1/p')
	[ "${minor:-0}" -ge 11 ]
}

find_terraform() {
	local path
	if path=$(command -v terraform) && new_enough "$path"; then
		echo "$path"
		return
	fi
	path=$cache/terraform-$terraform/terraform
	[ -x "$path" ] && echo "$path"
}

build_terraform() {
	local module=github.com/hashicorp/terraform part
	{
		printf 'module example.test/terraform\n\ngo 1.24\n\nrequire %s v%s\n\nreplace (\n' "$module" "$terraform"
		for part in "${inside[@]}"; do printf '\t%s/internal/%s => %s/internal/%s %s\n' "$module" "$part" "$module" "$part" "$commit"; done
		echo ')'
	} >"$work/go.mod"
	say "compiling Terraform $terraform (about 10 minutes)"
	(cd "$work" && GOWORK=off GOFLAGS="-mod=mod -buildvcs=false" go build -trimpath -ldflags="-s -w -X $module/version.dev=no" -o terraform "$module") >&2 ||
		die "no terraform 1.11 or newer is on PATH, and $module@v$terraform cannot be built: install terraform"
	new_enough "$work/terraform" || die "what was built from $module@v$terraform does not run"
	mkdir -p "$cache/terraform-$terraform"
	mv "$work/terraform" "$cache/terraform-$terraform/terraform"
}

mirror=$cache/terraform-mirror-$provider
binary=$mirror/registry.terraform.io/hashicorp/vault/$provider/$(go env GOOS)_$(go env GOARCH)/terraform-provider-vault_v$provider

find_provider() { [ -x "$binary" ] && echo "$binary"; }
find_mirror() { [ -x "$binary" ] && echo "$mirror"; }

build_mirror() { build_provider; }
build_provider() {
	say "compiling the Vault provider $provider (about 10 minutes)"
	(cd "$work" && GOWORK=off GOFLAGS=-buildvcs=false GOBIN="$work" go install -trimpath -ldflags='-s -w' "$provider_module") >&2 ||
		die "the Vault provider ($provider_module) cannot be built"
	mkdir -p "$(dirname "$binary")"
	mv "$work/terraform-provider-vault" "$binary"
}

only_find=
if [ "${1-}" = --find ]; then only_find=1; shift; fi
case ${1-} in terraform | provider | mirror) what=$1 ;; *) die "usage: build.sh [--find] terraform|provider|mirror" ;; esac

"find_$what" && exit
[ -z "$only_find" ] || exit 1
mkdir -p "$cache"
# One build at a time; whoever waited finds it built.
exec 9>"$cache/terraform.lock"
flock 9
"find_$what" && exit
work=$(mktemp -d "$cache/terraform-build.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
"build_$what"
"find_$what"
