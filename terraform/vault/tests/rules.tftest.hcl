# Which rules follow from which refs.

mock_provider "vault" {}

variables {
  role    = "docker-host"
  address = "https://vault.internal:8200"
  mounts  = { kv_v2 = ["kv", "team/kv"], kv_v1 = ["old"] }
  aws     = { bound_iam_principal_arns = ["arn:aws:iam::123456789012:role/docker-host"], server_id = "vault.internal" }
  grants = {
    shop = { workloads = { "compose.project" = "shop" }, secrets = ["vault:kv/shop/timeline/**"] }
  }
}

run "a_grant_is_a_policy" {
  assert {
    condition     = output.policies == { docker-host-shop = "# Grant shop. Made by Terraform.\n# vault:kv/shop/timeline/**\npath \"kv/data/shop/timeline/*\" {\n  capabilities = [\"read\"]\n}\n" }
    error_message = "the policy is\n${jsonencode(output.policies)}"
  }
  assert {
    condition     = vault_aws_auth_backend_role.this["docker-host"].token_policies == toset(["docker-host-shop"])
    error_message = "the role's policies are ${jsonencode(vault_aws_auth_backend_role.this["docker-host"].token_policies)}"
  }
  assert {
    condition     = output.vault.mount == "aws" && output.vault.server_id == "vault.internal" && output.vault.role == "docker-host" && output.vault.check_versions == null
    error_message = "the output vault is ${jsonencode(output.vault)}"
  }
}

run "each_kind_of_engine_has_its_rule" {
  variables {
    grants = {
      all = {
        workloads = { name = "all" }
        secrets = [
          "vault:kv/one#field@3", "vault:kv/*/db", "vault:kv/web-**", "vault:team/kv/x%20y", "vault:old/two", "vault:old/*",
          "vault:database/creds/shop", "vault:database/rotate-role/x?method=write", "vault:totp/code/bank",
          "vault:pki/issue/web?common_name=*.shop.internal", "vault:pki/sign/*", "vault:pki/cert/ca", "vault:pki/issuer/root/issue/web", "vault:pki/issuer/root/pem",
          "vault:ssh/sign/web?public_key=*", "vault:ssh/creds/otp?ip=*", "vault:transit/decrypt/shop?ciphertext=*", "vault:kubernetes/creds/x",
          "vault:identity/oidc/token/shop", "vault:kv/wrapped?unwrap=true", "aws:not/here",
        ]
      }
    }
  }
  assert {
    condition = { for rule in regexall("path \"([^\"]*)\" \\{\n  capabilities = ([^\n]*)\n", output.policies.docker-host-all) : rule[0] => jsondecode(rule[1]) } == {
      "kv/data/one"               = ["read"]
      "kv/data/+/db"              = ["read"]
      "kv/data/web-*"             = ["read"]
      "team/kv/data/x y"          = ["read"]
      "old/two"                   = ["read"]
      "old/+"                     = ["read"]
      "database/creds/shop"       = ["read"]
      "database/rotate-role/x"    = ["update"]
      "totp/code/bank"            = ["read"]
      "pki/issue/web"             = ["update"]
      "pki/sign/+"                = ["update"]
      "pki/cert/ca"               = ["read"]
      "pki/issuer/root/issue/web" = ["update"]
      "pki/issuer/root/pem"       = ["read"]
      "ssh/sign/web"              = ["update"]
      "ssh/creds/otp"             = ["update"]
      "transit/decrypt/shop"      = ["update"]
      "kubernetes/creds/x"        = ["update"]
      "identity/oidc/token/shop"  = ["read"]
      "kv/data/wrapped"           = ["read"]
    }
    error_message = "the policy is\n${output.policies.docker-host-all}"
  }
  assert {
    condition     = output.policies.docker-host-agent == "# What the agent needs itself. Made by Terraform.\n# ends logins and certificates with their container\npath \"sys/leases/revoke\" {\n  capabilities = [\"update\"]\n}\n"
    error_message = "the agent's own policy is\n${output.policies.docker-host-agent}"
  }
}

run "versions_are_asked_for_only_where_that_was_asked_for" {
  variables {
    check_versions = true
  }
  assert {
    condition     = strcontains(output.policies.docker-host-shop, "path \"kv/metadata/shop/timeline/*\" {\n  capabilities = [\"read\"]") && output.vault.check_versions
    error_message = "the policy is\n${output.policies.docker-host-shop}"
  }
}

run "a_role_of_its_own_is_not_the_hosts" {
  variables {
    grants = {
      shop     = { workloads = { "compose.project" = "shop" }, secrets = ["vault:kv/shop"] }
      payments = { workloads = { "compose.project" = "pay" }, secrets = ["vault:kv/pay", "vault:database/creds/pay"], vault = { role = "payments" } }
    }
  }
  assert {
    condition = jsonencode(output.roles) == jsonencode({
      docker-host = ["docker-host-shop"]
      payments    = ["docker-host-agent-payments", "docker-host-payments"]
    })
    error_message = "the roles are ${jsonencode(output.roles)}"
  }
  assert {
    condition     = strcontains(output.policies.docker-host-agent-payments, "auth/token/create") && strcontains(output.policies.docker-host-payments, "sys/leases/revoke")
    error_message = "the policies are ${jsonencode(output.policies)}"
  }
}

run "policies_alone_are_the_hosts_too" {
  variables {
    existing_policies = ["audited"]
    grants = {
      payments = { workloads = { "compose.project" = "pay" }, secrets = ["vault:kv/pay"], vault = { policies = ["payments-read", "audited"] } }
    }
  }
  assert {
    condition     = jsonencode(output.roles) == jsonencode({ docker-host = ["docker-host-agent", "payments-read", "audited"] })
    error_message = "the roles are ${jsonencode(output.roles)}"
  }
  assert {
    condition     = keys(output.policies) == ["docker-host-agent", "payments-read"]
    error_message = "the policies are ${jsonencode(output.policies)}"
  }
}

run "a_role_of_others_is_left_to_them" {
  variables {
    existing_roles = ["payments"]
    grants = {
      payments = { workloads = { "compose.project" = "pay" }, secrets = ["vault:kv/pay"], vault = { role = "payments" } }
    }
  }
  assert {
    condition     = jsonencode([output.roles, output.policies]) == jsonencode([{ docker-host = [] }, {}])
    error_message = "made: ${jsonencode([output.roles, output.policies])}"
  }
}

run "another_vault" {
  variables {
    provider_name = "payments"
    grants = {
      shop = { workloads = { name = "x" }, secrets = ["vault:kv/shop", "payments:kv/psp"] }
    }
  }
  assert {
    condition     = strcontains(output.policies.docker-host-shop, "kv/data/psp") && !strcontains(output.policies.docker-host-shop, "kv/data/shop")
    error_message = "the policy is\n${output.policies.docker-host-shop}"
  }
}
