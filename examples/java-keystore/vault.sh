#!/bin/sh
# What Vault needs for this example, beside the role docker-host and the mount kv: once, in this directory, as Vault's administrator.
set -eu

vault secrets enable pki
vault secrets tune -max-lease-ttl=87600h pki
vault write -field=certificate pki/root/generate/internal common_name="shop.internal" ttl=87600h >"${CA_FILE:-shop-ca.crt}"
vault write pki/roles/java allowed_domains=shop.internal allow_subdomains=true key_type=rsa key_bits=2048 max_ttl=168h
vault kv put kv/shop/orders keystore_password="$(openssl rand -hex 16)"   # printable ASCII; JKS wants 6 characters or more
# What the host may do already, and the rules of this example.
{ vault policy read docker-host; cat policy.hcl; } | vault policy write docker-host -
