# One list of grants; Vault's roles and policies, the roles of the hosts' account
# in Google Cloud and the hosts' own configuration are made from it.

locals {
  grants = {
    timeline = {
      workloads = { "compose.project" = "shop", "compose.service" = "timeline" }
      secrets   = ["vault:kv/shop/timeline/**", "gcp:shop-prod/timeline-db"]
    }
    mailer = {
      workloads  = { "compose.project" = "shop", "compose.service" = "mailer" }
      secrets    = ["gcp:shop-prod/mailer-password"]
      boot_cache = true
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

provider "vault" {
  address = var.vault_address
}

module "vault" {
  source  = "../../../terraform/vault"
  address = var.vault_address
  ca_pem  = var.vault_ca_pem
  role    = "docker-host"
  mounts  = { kv_v2 = ["kv"] }
  grants  = local.grants
  gcp = {
    bound_service_accounts = [module.hosts.service_account_email]
    bound_projects         = [module.hosts.project]
    bound_regions          = [module.hosts.region]
  }
}

module "hosts" {
  source       = "../../../terraform/gcp"
  name         = "shop-host"
  project      = var.project
  region       = var.region
  image        = var.image
  subnetwork   = var.subnetwork
  network_tags = ["shop-host"]
  labels       = { environment = "production" }
  vault        = module.vault.vault
  grants       = local.grants
  settings     = { boot_cache = { key = "systemd-creds" } } # sealed by the host's own TPM
  files        = [{ path = "/srv/shop/compose.yaml", content = file("${path.module}/compose.yaml") }]
  commands     = ["docker compose --project-directory /srv/shop up --detach"]
}

# Nothing comes in, whatever else the network's rules allow.
resource "google_compute_firewall" "hosts" {
  name        = "shop-host-ingress"
  network     = var.network
  direction   = "INGRESS"
  priority    = 900
  target_tags = ["shop-host"]
  deny {
    protocol = "all"
  }
  source_ranges = ["0.0.0.0/0"]
}
