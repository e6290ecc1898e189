# packer build -only='azure-arm.*': a version of an image in a compute gallery.
# Disks and gallery images are encrypted by Azure itself; with
# azure_disk_encryption_set by a key of yours. The gallery's image definition
# must be of generation 2 and of security type TrustedLaunch(Supported).

variable "azure_subscription" {
  type        = string
  default     = "00000000-0000-0000-0000-000000000000"
  description = "Azure: the subscription in which is built and published."
}

variable "azure_resource_group" {
  type        = string
  default     = "images"
  description = "Azure: the resource group of the gallery."
}

variable "azure_gallery" {
  type        = string
  default     = "hosts"
  description = "Azure: the compute gallery; it and the image definition (variable name) exist already."
}

variable "azure_location" {
  type        = string
  default     = "westeurope"
  description = "Azure: where is built, and the first region of the image."
}

variable "azure_copy_locations" {
  type        = list(string)
  default     = []
  description = "Azure: further regions that get a copy."
}

variable "azure_vm_size" {
  type        = string
  default     = "Standard_D2s_v5"
  description = "Azure: the machine that builds; one of generation 2."
}

variable "azure_source" {
  type = object({ publisher = string, offer = string, sku = string })
  default = {
    publisher = "Debian"
    offer     = "debian-12"
    sku       = "12-gen2"
  }
  description = "Azure: the base image, of generation 2; Debian's own by default."
}

variable "azure_cli" {
  type        = bool
  default     = false
  description = "Azure: true where a person builds who has done `az login`; false takes the managed identity of the machine that Packer runs on."
}

variable "azure_disk_encryption_set" {
  type        = string
  default     = null
  description = "Azure: resource ID of a disk encryption set, for a key of yours."
}

source "azure-arm" "host" {
  subscription_id        = var.azure_subscription
  use_azure_cli_auth     = var.azure_cli
  location               = var.azure_location
  vm_size                = var.azure_vm_size
  os_type                = "Linux"
  image_publisher        = var.azure_source.publisher
  image_offer            = var.azure_source.offer
  image_sku              = var.azure_source.sku
  ssh_username           = "packer"
  disk_encryption_set_id = var.azure_disk_encryption_set

  # Trusted launch: signed boot, and a TPM that systemd-creds can seal with.
  security_type       = "TrustedLaunch"
  secure_boot_enabled = true
  vtpm_enabled        = true

  shared_image_gallery_destination {
    subscription         = var.azure_subscription
    resource_group       = var.azure_resource_group
    gallery_name         = var.azure_gallery
    image_name           = var.name
    image_version        = var.version
    replication_regions  = concat([var.azure_location], var.azure_copy_locations)
    storage_account_type = "Standard_LRS"
  }

  azure_tags = local.labels
}
