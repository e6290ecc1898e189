#!/bin/sh
# What Vault needs for this example, beside the role docker-host and the mount kv: once, as Vault's administrator.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

ssh-keygen -q -t ed25519 -N '' -C backup -f "$directory/id_ed25519"
vault kv put kv/shop/backup private_key=@"$directory/id_ed25519" public_key=@"$directory/id_ed25519.pub" \
	restic_password="$(openssl rand -hex 16)"
