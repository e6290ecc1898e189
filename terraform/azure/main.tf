# Hosts that are the same but for their number: a scale set, whose machines have
# one identity that the module assigns exactly what the grants name.

data "azurerm_client_config" "current" {}

module "host" {
  source             = "../host"
  identity           = "azure"
  vault              = var.vault
  grants             = var.grants
  settings           = merge(var.settings, { azure = merge(try(var.settings.azure, {}), { client_id = azurerm_user_assigned_identity.host.client_id }) })
  files              = var.files
  commands           = var.commands
  package_repository = var.package_repository
  block_metadata     = var.block_metadata_from_containers
}

locals {
  # Azure takes 64 KiB before base64. Where that is too little, it goes compressed,
  # which cloud-init and the agent read as well.
  plain     = base64encode(module.host.user_data)
  user_data = length(local.plain) * 3 / 4 <= 65536 ? local.plain : base64gzip(module.host.user_data)
}

resource "azurerm_linux_virtual_machine_scale_set" "host" {
  name                = var.name
  resource_group_name = var.resource_group_name
  location            = var.location
  sku                 = var.vm_size
  instances           = var.instances
  zones               = var.zones
  zone_balance        = length(var.zones) > 1
  source_image_id     = var.image_id
  tags                = var.tags

  # cloud-init takes the former, which nobody can read from the metadata service;
  # the agent takes the latter where an image has no cloud-init.
  custom_data = local.user_data
  user_data   = local.user_data

  admin_username                  = var.admin.username
  disable_password_authentication = true
  admin_ssh_key {
    username   = var.admin.username
    public_key = var.admin.public_key
  }

  identity {
    type         = "UserAssigned"
    identity_ids = setunion([azurerm_user_assigned_identity.host.id], var.identity_ids)
  }

  # Trusted launch: the boot is measured, and there is a TPM for systemd-creds.
  secure_boot_enabled        = true
  vtpm_enabled               = true
  encryption_at_host_enabled = var.encryption_at_host

  os_disk {
    caching                = "ReadWrite"
    storage_account_type   = var.root_disk.type
    disk_size_gb           = var.root_disk.size
    disk_encryption_set_id = var.root_disk.disk_encryption_set_id
  }

  network_interface {
    name                      = "primary"
    primary                   = true
    network_security_group_id = var.network_security_group_id
    ip_configuration {
      name      = "internal"
      primary   = true
      subnet_id = var.subnet_id
    }
  }

  # The console's log, where the host says what is wrong with it.
  boot_diagnostics {}

  # Time to drain: the host is told by a scheduled event.
  termination_notification {
    enabled = true
    timeout = var.upgrade.drain
  }

  upgrade_mode    = var.upgrade.health_probe_id == null ? "Manual" : "Rolling"
  health_probe_id = var.upgrade.health_probe_id

  dynamic "rolling_upgrade_policy" {
    for_each = var.upgrade.health_probe_id[*]
    content {
      max_batch_instance_percent              = var.upgrade.max_batch_percent
      max_unhealthy_instance_percent          = var.upgrade.max_unhealthy_percent
      max_unhealthy_upgraded_instance_percent = var.upgrade.max_unhealthy_percent
      pause_time_between_batches              = var.upgrade.pause
      maximum_surge_instances_enabled         = var.upgrade.surge
    }
  }

  dynamic "automatic_instance_repair" {
    for_each = var.upgrade.health_probe_id[*]
    content {
      enabled      = true
      grace_period = var.upgrade.repair_grace
    }
  }

  lifecycle {
    ignore_changes = [instances] # scaling is not Terraform's
  }

  depends_on = [azurerm_role_assignment.host]
}
