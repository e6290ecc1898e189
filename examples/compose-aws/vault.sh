#!/bin/sh
# What Vault needs for this example: once, in this directory, as Vault's administrator.
# The account and the role are those of the instance profile.
set -eu

vault auth enable aws
vault write auth/aws/config/client iam_server_id_header_value=vault.internal
vault write auth/aws/config/identity iam_metadata=account_id,auth_type,canonical_arn,client_arn
vault policy write docker-host policy.hcl
vault write auth/aws/role/docker-host auth_type=iam resolve_aws_unique_ids=false \
	bound_iam_principal_arn="${ROLE_ARN:-arn:aws:iam::123456789012:role/docker-host}" \
	token_policies=docker-host token_ttl=1h

# The secrets themselves, which nobody needs to see.
vault secrets enable -path=kv -version=2 kv
cookie_key=$(openssl rand -hex 32) admin=$(openssl rand -base64 18)
vault kv put kv/shop/db password="$(openssl rand -base64 18)"
vault kv put kv/shop/web cookie_key="$cookie_key" admin="$admin" htpasswd="admin:$(openssl passwd -apr1 "$admin")"
