# Bad grants and bad settings. The sentences that are said are held by the Go
# test of these modules.

variables {
  identity = "aws"
  vault    = { address = "https://vault.internal:8200", role = "docker-host" }
}

run "no_colon" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["kv/shop"] } }
  }
}

run "nothing" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = [""] } }
  }
}

run "an_unknown_provider" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vaullt:kv/x"] } }
  }
}

run "a_provider_in_capitals" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["Vault:kv/x"] } }
  }
}

run "no_path" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:"] } }
  }
}

run "an_empty_segment" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv//x"] } }
  }
}

run "a_slash_at_the_end" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x/"] } }
  }
}

run "a_way_up" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/../sys"] } }
  }
}

run "a_field_after_a_version" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x@1#f"] } }
  }
}

run "two_fields" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x#a#b"] } }
  }
}

run "nothing_after_a_mark" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x#"] } }
  }
}

run "half_an_escape" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/%4"] } }
  }
}

run "bytes_that_are_no_text" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/%ff"] } }
  }
}

run "a_control_character" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/%00"] } }
  }
}

run "a_parameter_without_a_value" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x?a"] } }
  }
}

run "a_provider_that_is_not_configured" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    vault  = null
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x"] } }
  }
}

run "no_workloads" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = {}, secrets = ["vault:kv/x"] } }
  }
}

run "no_secrets" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = [] } }
  }
}

run "an_unknown_selector" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { "compose.projekt" = "shop" }, secrets = ["vault:kv/x"] } }
  }
}

run "by_the_image_alone" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { "image.label.team" = "shop" }, secrets = ["vault:kv/x"] } }
  }
}

run "a_login_that_says_nothing" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { shop = { workloads = { name = "shop" }, secrets = ["vault:kv/x"], vault = {} } }
  }
}

run "no_name" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { "" = { workloads = { name = "shop" }, secrets = ["vault:kv/x"] } }
  }
}

run "a_name_of_two_lines" {
  command         = plan
  expect_failures = [output.configuration]
  variables {
    grants = { "a\nb" = { workloads = { name = "shop" }, secrets = ["vault:kv/x"] } }
  }
}

run "a_static_identity" {
  command         = plan
  expect_failures = [var.identity]
  variables {
    identity = "token-file"
  }
}

run "plain_http" {
  command         = plan
  expect_failures = [var.vault]
  variables {
    vault = { address = "http://vault.internal:8200", role = "docker-host" }
  }
}

run "no_address" {
  command         = plan
  expect_failures = [var.vault]
  variables {
    vault = { address = "", role = "docker-host" }
  }
}

run "a_role_with_a_path" {
  command         = plan
  expect_failures = [var.vault]
  variables {
    vault = { address = "https://vault.internal", role = "auth/aws/role/x" }
  }
}

run "a_mount_with_auth" {
  command         = plan
  expect_failures = [var.vault]
  variables {
    vault = { address = "https://vault.internal", role = "x", mount = "auth/aws" }
  }
}

run "a_ca_that_is_a_file_name" {
  command         = plan
  expect_failures = [var.vault]
  variables {
    vault = { address = "https://vault.internal", role = "x", ca_pem = "/etc/ca.pem" }
  }
}

run "half_a_request_a_second" {
  command         = plan
  expect_failures = [var.vault]
  variables {
    vault = { address = "https://vault.internal", role = "x", rate = 0.5 }
  }
}

run "settings_for_vault" {
  command         = plan
  expect_failures = [var.settings]
  variables {
    settings = { vault = {} }
  }
}

run "settings_for_a_static_identity" {
  command         = plan
  expect_failures = [var.settings]
  variables {
    settings = { allow_static_identity = true }
  }
}

run "a_relative_file" {
  command         = plan
  expect_failures = [var.files]
  variables {
    files = [{ path = "compose.yaml", content = "" }]
  }
}

run "a_file_twice" {
  command         = plan
  expect_failures = [var.files]
  variables {
    files = [{ path = "/a", content = "" }, { path = "/a", content = "" }]
  }
}

run "permissions_for_people" {
  command         = plan
  expect_failures = [var.files]
  variables {
    files = [{ path = "/a", content = "", permissions = "rw-r--r--" }]
  }
}

run "no_repository" {
  command         = plan
  expect_failures = [var.package_repository]
  variables {
    package_repository = {}
  }
}

run "a_repository_that_all_keys_sign" {
  command         = plan
  expect_failures = [var.package_repository]
  variables {
    package_repository = { apt = { source = "deb https://packages.example.com/debian stable main", key = "KEY" } }
  }
}

run "a_relative_directory" {
  command         = plan
  expect_failures = [var.directory]
  variables {
    directory = "etc"
  }
}
