mock_provider "vault" {}

mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { tenant_id = "11111111-1111-1111-1111-111111111111", subscription_id = "22222222-2222-2222-2222-222222222222" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop"
      client_id    = "33333333-3333-3333-3333-333333333333"
      principal_id = "44444444-4444-4444-4444-444444444444"
    }
  }
}

variables {
  vault_address       = "https://vault.internal:8200"
  resource_group_name = "shop"
  image_id            = "/subscriptions/s/resourceGroups/images/providers/Microsoft.Compute/galleries/docker/images/host/versions/1.2.0"
  subnet_id           = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop/subnets/hosts"
  key_vault_id        = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-kv"
  operator_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ== operator"
}

run "host_vault_and_azure_agree" {
  assert {
    condition = output.assignments == {
      "shop-kv/timeline-db"     = { role = "Key Vault Secrets User", scope = "${var.key_vault_id}/secrets/timeline-db" }
      "shop-kv/mailer-password" = { role = "Key Vault Secrets User", scope = "${var.key_vault_id}/secrets/mailer-password" }
    }
    error_message = jsonencode(output.assignments)
  }
  assert {
    condition     = yamldecode(output.configuration).vault == { address = "https://vault.internal:8200", mount = "azure", role = "docker-host" }
    error_message = output.configuration
  }
  assert {
    condition     = keys(module.vault.policies) == ["docker-host-timeline"]
    error_message = jsonencode(module.vault.policies)
  }
}
