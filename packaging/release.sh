#!/usr/bin/env bash
# Builds a release into out/release: an archive for each architecture, the
# packages, what each program is made of (CycloneDX), SHA256SUMS over all, and
# a signature of SHA256SUMS by the key that SIGN_KEY names: a private key of
# ssh-keygen, or a public one whose private key an agent holds. To check it:
#
#   ssh-keygen -Y verify -f allowed_signers -I NAME -n quaymaster-release -s SHA256SUMS.sig < SHA256SUMS
#   sha256sum --check --ignore-missing SHA256SUMS
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
out=$(realpath -m "${1:-$root/out/release}")
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export VERSION=${VERSION:-$(git -C "$root" describe --tags --always --dirty)}

# A key that cannot sign is found now, and not when all is built.
if [ -n "${SIGN_KEY-}" ]; then
	[ -r "$SIGN_KEY" ] || { echo "release: SIGN_KEY: $SIGN_KEY cannot be read: name a key of ssh-keygen" >&2; exit 1; }
	ssh-keygen -Y sign -f "$SIGN_KEY" -n quaymaster-release </dev/null >/dev/null
fi

rm -rf "$out"
mkdir -p "$out"
"$here/build.sh" "$out" >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
while read -r programs; do
	arch=$(basename "$programs")
	name=quaymaster-${VERSION#v}-linux-$arch
	mkdir -p "$work/$name/systemd"
	cp "$programs"/quaymaster "$programs"/quaymaster-runtime "$root"/{LICENSE,README.md,CHANGELOG.md} "$here/files/quaymaster.yaml" "$work/$name/"
	cp "$here"/systemd/*.{service,socket,mount} "$work/$name/systemd/"
	(cd "$root" && go run ./packaging/sbom "${VERSION#v}" "$programs"/quaymaster "$programs"/quaymaster-runtime) >"$out/$name.cdx.json"
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$work" -c "$name" | gzip -9n >"$out/$name.tar.gz"
done < <("$here/build.sh" --programs)

(cd "$out" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" SHA256SUMS)
if [ -n "${SIGN_KEY-}" ]; then
	ssh-keygen -Y sign -f "$SIGN_KEY" -n quaymaster-release "$out/SHA256SUMS" >&2
else
	echo "release: nothing is signed: SIGN_KEY names no key" >&2
fi
ls -l "$out"
