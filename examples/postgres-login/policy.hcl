path "database/creds/report" { capabilities = ["read"] }
path "sys/leases/revoke"     { capabilities = ["update"] } # to end a login with its container
