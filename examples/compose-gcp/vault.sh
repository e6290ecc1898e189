#!/bin/sh
# What Vault needs for this example: once, in this directory, as Vault's administrator.
set -eu
: "${PROJECT:=shop-prod}" "${ZONE:=europe-west1-b}"

vault auth enable gcp
vault policy write docker-host policy.hcl
vault write auth/gcp/role/docker-host type=gce bound_projects="$PROJECT" bound_zones="$ZONE" \
	bound_service_accounts="docker-host@$PROJECT.iam.gserviceaccount.com" \
	token_policies=docker-host token_ttl=1h

# The secrets themselves, which nobody needs to see.
vault secrets enable -path=kv -version=2 kv
cookie_key=$(openssl rand -hex 32) admin=$(openssl rand -base64 18)
vault kv put kv/shop/db password="$(openssl rand -base64 18)"
vault kv put kv/shop/web cookie_key="$cookie_key" admin="$admin" htpasswd="admin:$(openssl passwd -apr1 "$admin")"
