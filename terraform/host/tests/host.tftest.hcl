# What a host gets. That the configuration is valid is judged by the program
# itself, in the Go test of these modules.

variables {
  identity = "aws"
  vault = {
    address = "https://vault.internal:8200", role = "docker-host", server_id = "vault.internal"
    ca_pem  = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
  }
  grants = {
    timeline = { workloads = { "compose.project" = "shop" }, secrets = ["vault:kv/shop/**", "aws:ssm/prod/*?recursive=true#a@b"] }
    payments = { workloads = { name = "payments" }, secrets = ["vault:kv/payments"], vault = { policies = ["payments"] }, boot_cache = true }
  }
}

run "the_configuration" {
  command = plan
  variables {
    settings = { gate_timeout = "60s", require_gate = true }
  }
  assert {
    condition = jsonencode(yamldecode(output.configuration)) == jsonencode({
      identity = "aws"
      vault    = { address = "https://vault.internal:8200", role = "docker-host", server_id = "vault.internal", ca_file = "/etc/quaymaster/vault-ca.pem" }
      grants = [
        { name = "payments", workloads = { name = "payments" }, secrets = ["vault:kv/payments"], vault = { policies = ["payments"] }, boot_cache = true },
        { name = "timeline", workloads = { "compose.project" = "shop" }, secrets = ["vault:kv/shop/**", "aws:ssm/prod/*?recursive=true#a@b"] },
      ]
      gate_timeout = "60s"
      require_gate = true
    })
    error_message = "the configuration is\n${output.configuration}"
  }
}

run "the_user_data" {
  command = plan
  variables {
    files              = [{ path = "/etc/shop/compose.yaml", content = "services: {}\n" }]
    commands           = ["docker compose -f /etc/shop/compose.yaml up -d"]
    package_repository = { apt = { source = "deb [signed-by=$KEY_FILE] https://packages.example.com/debian stable main", key = "KEY" }, version = "1.2.0" }
  }
  assert {
    condition     = startswith(output.user_data, "#cloud-config\n")
    error_message = "cloud-init does not know it for its own:\n${output.user_data}"
  }
  assert {
    condition = jsonencode(yamldecode(output.user_data)) == jsonencode({
      write_files = [
        { path = "/etc/quaymaster/conf.d/10-host.yaml", owner = "root:root", permissions = "0600", content = output.configuration },
        { path = "/etc/quaymaster/vault-ca.pem", owner = "root:root", permissions = "0600", content = var.vault.ca_pem },
        { path = "/etc/shop/compose.yaml", owner = "root:root", permissions = "0644", content = "services: {}\n" },
      ]
      runcmd         = ["docker compose -f /etc/shop/compose.yaml up -d"]
      apt            = { sources = { quaymaster = { source = "deb [signed-by=$KEY_FILE] https://packages.example.com/debian stable main", key = "KEY" } } }
      package_update = true
      packages       = [["quaymaster", "1.2.0"]]
    })
    error_message = "the user-data is\n${output.user_data}"
  }
}

run "a_host_without_a_vault" {
  command = plan
  variables {
    vault    = null
    grants   = { api = { workloads = { name = "api" }, secrets = ["aws:prod/shop", "eu:prod/shop"] } }
    settings = { providers = { eu = { type = "aws", region = "eu-west-1" } } }
  }
  assert {
    condition     = !can(yamldecode(output.configuration).vault) && keys(output.refs) == ["aws", "eu"]
    error_message = "the configuration is\n${output.configuration}"
  }
}

run "refs_in_their_parts" {
  command = plan
  variables {
    grants = {
      a = { workloads = { name = "a" }, secrets = ["vault:kv/sh%6Fp/*/db%3F#pass%C3%A9%2Aword@3", "vault:%E2%82%AC/x%F0%9F%98%80%25", "aws:p?a=b%20c&d=*#f"] }
    }
  }
  assert {
    condition = jsonencode(output.refs) == jsonencode({
      vault = [
        { grant = "a", text = "vault:kv/sh%6Fp/*/db%3F#pass%C3%A9%2Aword@3", path = "kv/shop/*/db?", field = "passé%2Aword", version = "3", params = "" },
        { grant = "a", text = "vault:%E2%82%AC/x%F0%9F%98%80%25", path = "€/x😀%", field = "", version = "", params = "" },
      ]
      aws = [{ grant = "a", text = "aws:p?a=b%20c&d=*#f", path = "p", field = "f", version = "", params = "a=b%20c&d=*" }]
    })
    error_message = "the refs are ${jsonencode(output.refs)}"
  }
}
