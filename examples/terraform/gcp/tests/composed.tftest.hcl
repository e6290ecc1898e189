mock_provider "vault" {}

mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      name  = "projects/shop-prod/serviceAccounts/shop-host@shop-prod.iam.gserviceaccount.com"
      email = "shop-host@shop-prod.iam.gserviceaccount.com"
    }
  }
}

variables {
  vault_address = "https://vault.internal:8200"
  project       = "shop-prod"
  image         = "projects/shop-prod/global/images/family/docker-host"
  network       = "shop"
  subnetwork    = "projects/shop-prod/regions/europe-west3/subnetworks/hosts"
}

run "host_vault_and_google_agree" {
  assert {
    condition = { for name, b in output.bindings : name => b.role } == {
      "shop-prod/timeline-db read"     = "roles/secretmanager.secretAccessor"
      "shop-prod/mailer-password read" = "roles/secretmanager.secretAccessor"
    }
    error_message = jsonencode(output.bindings)
  }
  assert {
    condition     = yamldecode(output.configuration).vault == { address = "https://vault.internal:8200", mount = "gcp", role = "docker-host" }
    error_message = output.configuration
  }
  assert {
    condition     = keys(module.vault.policies) == ["docker-host-timeline"]
    error_message = jsonencode(module.vault.policies)
  }
}
