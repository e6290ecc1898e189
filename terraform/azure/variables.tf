variable "name" {
  description = "What the hosts, their identity and their scale set are called."
  type        = string
  default     = "quaymaster"
  nullable    = false
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,50}[a-z0-9]$", var.name))
    error_message = "name is \"${var.name}\": use 3 to 52 small letters, digits and dashes, beginning with a letter: hosts are called so as well."
  }
}

variable "resource_group_name" {
  description = "The resource group in which everything is made."
  type        = string
  nullable    = false
}

variable "location" {
  description = "The region, as in westeurope."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^[a-z0-9]+$", var.location))
    error_message = "location is \"${var.location}\": write it as in westeurope."
  }
}

variable "image_id" {
  description = "The image that the hosts boot: the ID of one that packaging/image made, or any with cloud-init and a package_repository."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("(?i)^/(subscriptions|communityGalleries|sharedGalleries)/.+/(images|versions)/[^/]+$", var.image_id)) || can(regex("(?i)^/subscriptions/.+/images/[^/]+$", var.image_id))
    error_message = "image_id is \"${var.image_id}\": give the ID of an image or of a version in a gallery, as in /subscriptions/…/galleries/docker/images/host/versions/1.2.0."
  }
}

variable "vm_size" {
  description = "The size of the hosts, of the same architecture as the image and fit for trusted launch."
  type        = string
  default     = "Standard_B2s"
  nullable    = false
  validation {
    condition     = can(regex("^(Standard|Basic)_[A-Za-z0-9_-]+$", var.vm_size))
    error_message = "vm_size is \"${var.vm_size}\": write it as in Standard_B2s."
  }
}

variable "subnet_id" {
  description = "The subnet that the hosts run in."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\\.Network/virtualNetworks/[^/]+/subnets/[^/]+$", var.subnet_id))
    error_message = "subnet_id is \"${var.subnet_id}\": give the subnet's ID, as in /subscriptions/…/virtualNetworks/shop/subnets/hosts."
  }
}

variable "network_security_group_id" {
  description = "A network security group of the hosts; null: what the subnet has. Hosts need no way in; out to Vault, Azure's APIs and registries."
  type        = string
  default     = null
}

variable "instances" {
  description = "How many hosts to begin with; later it is not Terraform's."
  type        = number
  default     = 2
  nullable    = false
  validation {
    condition     = var.instances >= 0 && floor(var.instances) == var.instances
    error_message = "instances is a whole number, at least 0."
  }
}

variable "zones" {
  description = "The availability zones to spread the hosts over."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "admin" {
  description = "Who may log in by SSH, and by which public key: Azure makes no Linux machine without one. Throw the private half away where nobody is to."
  type        = object({ username = optional(string, "operator"), public_key = string })
  nullable    = false
  validation {
    condition     = can(regex("^(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/]+=*( .*)?$", var.admin.public_key))
    error_message = "admin.public_key is no public key: give the line of a .pub file, ssh-ed25519 or ssh-rsa."
  }
}

variable "root_disk" {
  description = "The root disk: GiB (null: the image's), kind, and a disk encryption set (null: Azure's own keys)."
  type        = object({ size = optional(number), type = optional(string, "StandardSSD_LRS"), disk_encryption_set_id = optional(string) })
  default     = {}
  nullable    = false
}

variable "encryption_at_host" {
  description = "Whether temporary disks and caches are encrypted as well; the subscription must have the feature EncryptionAtHost."
  type        = bool
  default     = false
  nullable    = false
}

variable "upgrade" {
  description = "How hosts are replaced when what they are made of changes. With the load balancer's health_probe_id by Azure, in batches; without one by the provider, one after the other, unless its features say that it is not to roll instances."
  type = object({
    health_probe_id       = optional(string)
    max_batch_percent     = optional(number, 20)
    max_unhealthy_percent = optional(number, 20)
    pause                 = optional(string, "PT3M")
    surge                 = optional(bool, true)
    repair_grace          = optional(string, "PT30M")
    drain                 = optional(string, "PT5M")
  })
  default  = {}
  nullable = false
  validation {
    condition     = alltrue([for d in [var.upgrade.pause, var.upgrade.repair_grace, var.upgrade.drain] : can(regex("^PT[0-9]+[MHS]$", d))])
    error_message = "upgrade: pause, repair_grace and drain are durations as Azure writes them, as in PT5M."
  }
}

variable "key_vaults" {
  description = "The resource ID of each Key Vault that grants name, by its name; vaults whose permissions are roles (RBAC)."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "identity_ids" {
  description = "More user-assigned identities for the hosts: those that providers with a client_id of their own read as."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "block_metadata_from_containers" {
  description = "Keep containers on Docker's bridges from the metadata service, and so from the hosts' identity: Azure has no hop limit that would."
  type        = bool
  default     = true
  nullable    = false
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(key, "quaymaster-")])
    error_message = "tags: keys that begin with quaymaster- would be read as configuration, which this module writes itself: use vault, grants and settings."
  }
}

# What follows is for terraform/host, which checks it.

variable "vault" {
  description = "Vault, as the output vault of terraform/vault says it; null: the hosts use none."
  type = object({
    address            = string
    role               = string
    mount              = optional(string)
    namespace          = optional(string)
    server_id          = optional(string)
    ca_pem             = optional(string)
    tls_server_name    = optional(string)
    login_spread       = optional(string)
    sts_region         = optional(string)
    sts_endpoint       = optional(string)
    revoke_on_shutdown = optional(bool)
    rate               = optional(number)
    check_versions     = optional(bool)
  })
  default = null
}

variable "grants" {
  description = "Which workloads may have which secrets, by the name of the grant; the keys are those of quaymaster.yaml."
  type = map(object({
    workloads  = map(string)
    secrets    = list(string)
    vault      = optional(object({ role = optional(string), policies = optional(list(string)) }))
    boot_cache = optional(bool, false)
  }))
  default  = {}
  nullable = false
}

variable "settings" {
  description = "Other top-level keys of quaymaster.yaml."
  type        = any
  default     = {}
  nullable    = false
}

variable "files" {
  description = "More files for the host, a compose file for one. No secrets."
  type        = list(object({ path = string, content = string, permissions = optional(string, "0644") }))
  default     = []
  nullable    = false
  # What the user-data has besides is short; its identity's ID is not known when this is to be said.
  validation {
    condition     = length(base64gzip(jsonencode([var.grants, var.settings, var.files, var.commands]))) * 3 / 4 <= 60000
    error_message = "files, commands and grants have more than 60000 bytes even when compressed, and Azure takes no more than 65536 for the user-data: put files and commands into the image, or write grants with fewer patterns."
  }
}

variable "commands" {
  description = "What cloud-init runs at the first boot after all else, each a line for the shell."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "package_repository" {
  description = "Where the package quaymaster comes from, for images that do not have it: apt, yum, or both; version pins it."
  type = object({
    apt     = optional(object({ source = string, key = string }))
    yum     = optional(object({ baseurl = string, gpgkey = string }))
    version = optional(string)
  })
  default = null
}
