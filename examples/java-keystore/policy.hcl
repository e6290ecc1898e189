path "pki/issue/java" { capabilities = ["update"] }
