# packer build -only='googlecompute.*': an image for shielded VMs. Disks and images
# are encrypted by Google itself; with gcp_kms_key by a key of yours.

variable "gcp_project" {
  type        = string
  default     = "my-project"
  description = "GCP: the project in which is built."
}

variable "gcp_zone" {
  type        = string
  default     = "europe-west1-b"
  description = "GCP: where is built."
}

variable "gcp_machine_type" {
  type        = string
  default     = "e2-small"
  description = "GCP: the machine that builds."
}

variable "gcp_source" {
  type = object({ family = string, project = string })
  default = {
    family  = "debian-12"
    project = "debian-cloud"
  }
  description = "GCP: the base image's family and project; Debian's own by default."
}

variable "gcp_impersonate" {
  type        = string
  default     = null
  description = "GCP: a service account that builds in the name of who runs Packer; needs roles/iam.serviceAccountTokenCreator on it."
}

variable "gcp_kms_key" {
  type        = string
  default     = null
  description = "GCP: projects/…/cryptoKeys/… that encrypts the image."
}

source "googlecompute" "host" {
  project_id                  = var.gcp_project
  zone                        = var.gcp_zone
  machine_type                = var.gcp_machine_type
  source_image_family         = var.gcp_source.family
  source_image_project_id     = [var.gcp_source.project]
  impersonate_service_account = var.gcp_impersonate
  ssh_username                = "packer"

  # The machine that builds can be nobody in the project: it needs no identity.
  disable_default_service_account = true
  metadata = {
    block-project-ssh-keys = "true"
    serial-port-enable     = "false"
  }

  enable_secure_boot          = true
  enable_vtpm                 = true
  enable_integrity_monitoring = true

  image_name              = "${var.name}-${local.dashed}-${local.stamp}"
  image_family            = var.name
  image_description       = "Docker host with Quaymaster ${var.version}"
  image_guest_os_features = ["UEFI_COMPATIBLE", "GVNIC", "VIRTIO_SCSI_MULTIQUEUE"]
  image_labels            = merge(local.labels, { version = local.dashed })
  labels                  = merge(local.labels, { version = local.dashed })

  dynamic "image_encryption_key" {
    for_each = var.gcp_kms_key == null ? [] : [var.gcp_kms_key]
    content {
      kmsKeyName = image_encryption_key.value
    }
  }
}
