path "kv/data/shop/*"    { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] } # to end what is leased with its container
