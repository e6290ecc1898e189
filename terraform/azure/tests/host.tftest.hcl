mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = { tenant_id = "11111111-1111-1111-1111-111111111111", subscription_id = "22222222-2222-2222-2222-222222222222" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = {
      id           = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/quaymaster"
      client_id    = "33333333-3333-3333-3333-333333333333"
      principal_id = "44444444-4444-4444-4444-444444444444"
    }
  }
}

variables {
  resource_group_name = "shop"
  location            = "westeurope"
  image_id            = "/subscriptions/s/resourceGroups/images/providers/Microsoft.Compute/galleries/docker/images/host/versions/1.2.0"
  subnet_id           = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/virtualNetworks/shop/subnets/hosts"
  admin               = { public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ== operator" }
  key_vaults          = { shop-kv = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.KeyVault/vaults/shop-kv" }
  vault               = { address = "https://vault.internal:8200", role = "docker-host" }
  grants = {
    timeline = {
      workloads = { "compose.project" = "shop", "compose.service" = "timeline" }
      secrets   = ["vault:kv/shop/timeline/**", "azure:shop-kv/db-password#user"]
    }
  }
}

run "a_host_is_safe" {
  assert {
    condition     = azurerm_linux_virtual_machine_scale_set.host.secure_boot_enabled && azurerm_linux_virtual_machine_scale_set.host.vtpm_enabled && azurerm_linux_virtual_machine_scale_set.host.disable_password_authentication && azurerm_linux_virtual_machine_scale_set.host.admin_password == null
    error_message = "no trusted launch, or a password"
  }
  assert {
    condition     = azurerm_linux_virtual_machine_scale_set.host.identity[0].type == "UserAssigned" && azurerm_linux_virtual_machine_scale_set.host.identity[0].identity_ids == toset([azurerm_user_assigned_identity.host.id])
    error_message = jsonencode(azurerm_linux_virtual_machine_scale_set.host.identity)
  }
  assert {
    condition     = length(azurerm_linux_virtual_machine_scale_set.host.network_interface[0].ip_configuration[0].public_ip_address) == 0
    error_message = "a public address that nobody asked for"
  }
  assert {
    condition     = azurerm_linux_virtual_machine_scale_set.host.upgrade_mode == "Manual" && length(azurerm_linux_virtual_machine_scale_set.host.rolling_upgrade_policy) == 0
    error_message = "hosts are replaced although nobody says whether they are healthy"
  }
}

run "its_identity_may_what_the_grants_name" {
  assert {
    condition = { for name, a in azurerm_role_assignment.host : name => [a.role_definition_name, a.scope, a.principal_id] } == {
      "shop-kv/db-password" = ["Key Vault Secrets User", "${var.key_vaults.shop-kv}/secrets/db-password", "44444444-4444-4444-4444-444444444444"]
    }
    error_message = jsonencode(azurerm_role_assignment.host)
  }
  assert {
    condition     = base64decode(azurerm_linux_virtual_machine_scale_set.host.custom_data) == output.user_data && azurerm_linux_virtual_machine_scale_set.host.user_data == azurerm_linux_virtual_machine_scale_set.host.custom_data
    error_message = output.user_data
  }
  assert {
    condition     = yamldecode(output.configuration).identity == "azure" && yamldecode(output.configuration).azure == { client_id = "33333333-3333-3333-3333-333333333333" }
    error_message = output.configuration
  }
}

run "containers_are_kept_from_the_metadata" {
  assert {
    condition = try(yamldecode(output.user_data).bootcmd, []) == [for rule in [
      "-d 169.254.169.254 -p tcp ! --dport 53 -j DROP", "-d 168.63.129.16 -p tcp ! --dport 53 -j DROP",
    ] : "iptables -w -t raw -C PREROUTING ${rule} 2>/dev/null || iptables -w -t raw -I PREROUTING ${rule}"]
    error_message = output.user_data
  }
}

run "unless_told_otherwise" {
  variables {
    block_metadata_from_containers = false
  }
  assert {
    condition     = !strcontains(output.user_data, "iptables")
    error_message = output.user_data
  }
}

run "with_a_probe_azure_replaces_hosts" {
  variables {
    upgrade = { health_probe_id = "/subscriptions/s/resourceGroups/shop/providers/Microsoft.Network/loadBalancers/shop/probes/up" }
  }
  assert {
    condition     = azurerm_linux_virtual_machine_scale_set.host.upgrade_mode == "Rolling" && azurerm_linux_virtual_machine_scale_set.host.rolling_upgrade_policy[0].max_batch_instance_percent == 20 && azurerm_linux_virtual_machine_scale_set.host.automatic_instance_repair[0].enabled
    error_message = jsonencode(azurerm_linux_virtual_machine_scale_set.host.rolling_upgrade_policy)
  }
}

run "a_pattern_wider_in_azure" {
  command = plan
  variables {
    grants = { a = { workloads = { name = "a" }, secrets = ["azure:shop-kv/db-*"] } }
  }
  expect_failures = [terraform_data.exact]
}

run "a_vault_that_nobody_named" {
  command = plan
  variables {
    key_vaults = {}
  }
  expect_failures = [terraform_data.exact]
}

run "what_does_not_fit_at_all" {
  command = plan
  variables {
    files = [{ path = "/srv/noise", content = join("", [for i in range(1000) : "${sha512("${i}")}${sha512("more ${i}")}"]) }]
  }
  expect_failures = [var.files]
}

run "bad_inputs" {
  command = plan
  variables {
    name      = "No Capitals"
    location  = "West Europe"
    image_id  = "debian"
    vm_size   = "small"
    subnet_id = "hosts"
    instances = -1
    admin     = { public_key = "-----BEGIN OPENSSH PRIVATE KEY-----" }
    upgrade   = { pause = "3 minutes" }
    tags      = { "quaymaster-vault-address" = "https://elsewhere" }
  }
  expect_failures = [var.name, var.location, var.image_id, var.vm_size, var.subnet_id, var.instances, var.admin, var.upgrade, var.tags]
}
