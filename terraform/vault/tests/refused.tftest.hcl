# What has no rule that is exact, and what is no grant, is refused. The sentences
# that are said are held by the Go test of these modules.

mock_provider "vault" {}

variables {
  role    = "docker-host"
  address = "https://vault.internal:8200"
  mounts  = { kv_v2 = ["kv", "team/kv"] }
  aws     = { bound_iam_principal_arns = ["arn:aws:iam::123456789012:role/docker-host"] }
}

run "a_wildcard_within_a_segment" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/shop/db-*"] } }
  }
}

run "two_asterisks_in_the_middle" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/**/password"] } }
  }
}

run "a_wildcard_before_two_asterisks" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/*-**"] } }
  }
}

run "a_mount_alone" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv"] } }
  }
}

run "a_mount_that_nobody_named" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:secret/shop"] } }
  }
}

run "a_wildcard_for_the_mount" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:*/shop"] } }
  }
}

run "a_wildcard_over_a_mount" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:team/*/shop"] } }
  }
}

run "everything" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:**"] } }
  }
}

run "a_wildcard_for_the_use" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:pki/**"] } }
  }
}

run "a_wildcard_for_the_use_of_an_issuer" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:pki/issuer/root/*/web"] } }
  }
}

run "vaults_own_workings" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:sys/mounts"] } }
  }
}

run "the_cubbyhole" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:cubbyhole/x"] } }
  }
}

run "entities" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:identity/entity/x"] } }
  }
}

run "a_plus" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/+/x"] } }
  }
}

run "an_asterisk" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/a%2Ab"] } }
  }
}

run "a_template_of_policies" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/{{name}}"] } }
  }
}

run "a_quote" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/a%22b"] } }
  }
}

run "a_method_by_wildcard" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:transit/x?method=*"] } }
  }
}

run "what_the_grammar_refuses" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv//x"] } }
  }
}

run "a_grant_in_capitals" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { Shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x"] } }
  }
}

run "a_policy_in_capitals" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x"], vault = { policies = ["Shop"] } } }
  }
}

run "the_policy_root" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x"], vault = { policies = ["root"] } } }
  }
}

run "a_role_with_a_path" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x"], vault = { role = "a/b" } } }
  }
}

run "no_cloud" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    aws = null
  }
}

run "two_clouds" {
  command         = plan
  expect_failures = [output.vault]
  variables {
    gcp = { bound_service_accounts = ["a@b.iam.gserviceaccount.com"] }
  }
}

run "a_role_in_capitals" {
  command         = plan
  expect_failures = [var.role]
  variables {
    role = "Docker"
  }
}

run "an_instance_profile" {
  command         = plan
  expect_failures = [var.aws]
  variables {
    aws = { bound_iam_principal_arns = ["arn:aws:iam::123456789012:instance-profile/docker-host"] }
  }
}

run "nobody" {
  command         = plan
  expect_failures = [var.aws]
  variables {
    aws = { bound_iam_principal_arns = [] }
  }
}

run "every_principal_of_azure" {
  command         = plan
  expect_failures = [var.azure]
  variables {
    aws   = null
    azure = { tenant_id = "x", bound_service_principal_ids = ["*"] }
  }
}

run "azure_without_a_tenant" {
  command         = plan
  expect_failures = [var.azure]
  variables {
    aws   = null
    azure = { bound_service_principal_ids = ["x"] }
  }
}

run "no_service_account" {
  command         = plan
  expect_failures = [var.gcp]
  variables {
    aws = null
    gcp = { bound_service_accounts = [] }
  }
}

run "a_zone_for_iam" {
  command         = plan
  expect_failures = [var.gcp]
  variables {
    aws = null
    gcp = { type = "iam", bound_service_accounts = ["a@b.iam.gserviceaccount.com"], bound_zones = ["europe-west1-b"] }
  }
}

run "an_unknown_type_of_gcp" {
  command         = plan
  expect_failures = [var.gcp]
  variables {
    aws = null
    gcp = { type = "gke", bound_service_accounts = ["a@b.iam.gserviceaccount.com"] }
  }
}

run "a_mount_of_two_kinds" {
  command         = plan
  expect_failures = [var.mounts]
  variables {
    mounts = { kv_v2 = ["kv"], kv_v1 = ["kv"] }
  }
}

run "a_mount_with_a_slash" {
  command         = plan
  expect_failures = [var.mounts]
  variables {
    mounts = { kv_v2 = ["kv/"] }
  }
}

run "a_token_of_seconds" {
  command         = plan
  expect_failures = [var.token]
  variables {
    token = { ttl = 5 }
  }
}

run "a_max_ttl_below_the_ttl" {
  command         = plan
  expect_failures = [var.token]
  variables {
    token = { max_ttl = 60 }
  }
}

run "a_name_for_no_provider" {
  command         = plan
  expect_failures = [var.provider_name]
  variables {
    provider_name = "Vault:"
  }
}
