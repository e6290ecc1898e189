#!/bin/sh
# What Vault needs for this example: once, in this directory, as Vault's administrator.
set -eu
: "${TENANT_ID:?the tenant that the machines are in}" "${SUBSCRIPTION_ID:?the subscription of the machines}"
: "${PRINCIPAL_ID:?the object ID of the machines\' managed identity}"
: "${CLIENT_ID:?the application as which Vault asks Azure about machines}" "${CLIENT_SECRET:?its secret}"

vault auth enable azure
vault write auth/azure/config tenant_id="$TENANT_ID" resource=https://management.azure.com/ \
	client_id="$CLIENT_ID" client_secret="$CLIENT_SECRET"
vault policy write docker-host policy.hcl
vault write auth/azure/role/docker-host bound_subscription_ids="$SUBSCRIPTION_ID" \
	bound_resource_groups="${RESOURCE_GROUP:-shop}" bound_service_principal_ids="$PRINCIPAL_ID" \
	token_policies=docker-host token_ttl=1h

# The secrets themselves, which nobody needs to see.
vault secrets enable -path=kv -version=2 kv
cookie_key=$(openssl rand -hex 32) admin=$(openssl rand -base64 18)
vault kv put kv/shop/db password="$(openssl rand -base64 18)"
vault kv put kv/shop/web cookie_key="$cookie_key" admin="$admin" htpasswd="admin:$(openssl passwd -apr1 "$admin")"
