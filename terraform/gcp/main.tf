# Hosts that are the same but for their number: one template, one group that
# replaces them when anything of them changes.

module "host" {
  source             = "../host"
  identity           = "gcp"
  vault              = var.vault
  grants             = var.grants
  settings           = var.settings
  files              = var.files
  commands           = var.commands
  package_repository = var.package_repository
  block_metadata     = var.block_metadata_from_containers
}

resource "google_compute_instance_template" "host" {
  name_prefix  = "${var.name}-"
  project      = var.project
  region       = var.region
  machine_type = var.machine_type
  tags         = var.network_tags
  labels       = var.labels

  # One of the scopes is all: what the account may is said by roles, and Secret
  # Manager has no scope of its own.
  service_account {
    email  = google_service_account.host.email
    scopes = ["cloud-platform"]
  }

  metadata = merge(var.metadata, {
    user-data                  = module.host.user_data
    enable-oslogin             = "TRUE"
    block-project-ssh-keys     = "TRUE"
    serial-port-logging-enable = "TRUE" # where the host says what is wrong with it
  })

  disk {
    boot         = true
    auto_delete  = true
    source_image = var.image
    disk_size_gb = var.root_disk.size
    disk_type    = var.root_disk.type
    dynamic "disk_encryption_key" {
      for_each = var.root_disk.kms_key[*]
      content {
        kms_key_self_link = disk_encryption_key.value
      }
    }
  }

  network_interface {
    subnetwork = var.subnetwork
  }

  # The boot is measured, and there is a TPM for systemd-creds.
  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  lifecycle {
    create_before_destroy = true
    precondition {
      condition     = length(module.host.user_data) <= 262144
      error_message = "the user-data has ${length(module.host.user_data)} characters, and Google Cloud takes 262144 for a metadata attribute: put files and commands into the image."
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.host, google_project_iam_member.host]
}

resource "google_compute_region_instance_group_manager" "host" {
  name                      = var.name
  project                   = var.project
  region                    = var.region
  base_instance_name        = var.name
  target_size               = var.size
  distribution_policy_zones = length(var.zones) == 0 ? null : var.zones

  version {
    instance_template = google_compute_instance_template.host.self_link_unique
  }

  update_policy {
    type                         = "PROACTIVE"
    minimal_action               = "REPLACE"
    replacement_method           = "SUBSTITUTE"
    instance_redistribution_type = "PROACTIVE"
    max_surge_fixed              = coalesce(var.update.max_surge, max(length(var.zones), 3)) # at least one for each zone, or none
    max_unavailable_fixed        = var.update.max_unavailable
  }

  dynamic "auto_healing_policies" {
    for_each = var.update.health_check[*]
    content {
      health_check      = auto_healing_policies.value
      initial_delay_sec = var.update.initial_delay
    }
  }

  lifecycle {
    ignore_changes = [target_size] # scaling is not Terraform's
  }
}
