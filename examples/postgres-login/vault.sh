#!/bin/sh
# What Vault needs for this example, beside the role docker-host: once, in this directory, as Vault's administrator.
set -eu
: "${PASSWORD:?of the user vault in PostgreSQL, until Vault changes it, below}"

vault secrets enable database
vault write database/config/shop plugin_name=postgresql-database-plugin allowed_roles=report \
	connection_url="postgresql://{{username}}:{{password}}@${POSTGRES:-postgres.internal:5432/shop?sslmode=verify-full}" \
	username=vault password="$PASSWORD"
vault write -f database/rotate-root/shop
vault write database/roles/report db_name=shop default_ttl=1h max_ttl=24h \
	creation_statements="CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE reports"
# What the host may do already, and the rules of this example.
{ vault policy read docker-host; cat policy.hcl; } | vault policy write docker-host -
