# One list of grants; Vault's roles and policies, the roles of the hosts' identity
# in Azure and the hosts' own configuration are made from it.

locals {
  grants = {
    timeline = {
      workloads = { "compose.project" = "shop", "compose.service" = "timeline" }
      secrets   = ["vault:kv/shop/timeline/**", "azure:shop-kv/timeline-db"]
    }
    mailer = {
      workloads  = { "compose.project" = "shop", "compose.service" = "mailer" }
      secrets    = ["azure:shop-kv/mailer-password"]
      boot_cache = true
    }
  }
}

provider "azurerm" {
  features {}
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
  azure = {
    tenant_id                   = module.hosts.tenant_id
    bound_service_principal_ids = [module.hosts.principal_id]
    bound_subscription_ids      = [module.hosts.subscription_id]
    bound_resource_groups       = [module.hosts.resource_group_name]
    bound_scale_sets            = [module.hosts.scale_set]
  }
}

module "hosts" {
  source              = "../../../terraform/azure"
  name                = "shop"
  resource_group_name = var.resource_group_name
  location            = var.location
  image_id            = var.image_id
  subnet_id           = var.subnet_id
  admin               = { public_key = var.operator_public_key }
  key_vaults          = { shop-kv = var.key_vault_id }
  tags                = { environment = "production" }
  vault               = module.vault.vault
  grants              = local.grants
  settings            = { boot_cache = { key = "systemd-creds" } } # sealed by the host's own TPM
  files               = [{ path = "/srv/shop/compose.yaml", content = file("${path.module}/compose.yaml") }]
  commands            = ["docker compose --project-directory /srv/shop up --detach"]
}
