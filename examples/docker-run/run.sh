#!/bin/sh
# A job that reads one secret from a file and one from its environment, and ends.
set -eu
docker run --rm --name backup --runtime quaymaster --user 65534:65534 --read-only \
	--label app=backup \
	--label quaymaster.secret.id_ed25519='vault:kv/shop/backup#private_key' \
	--label quaymaster.env.RESTIC_PASSWORD='vault:kv/shop/backup#restic_password' \
	busybox:1.36 sh -c 'ls -lnL /run/secrets; test -n "$RESTIC_PASSWORD" && echo "and a password of ${#RESTIC_PASSWORD} characters"'
