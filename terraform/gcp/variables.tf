variable "name" {
  description = "What the hosts, their service account and their group are called."
  type        = string
  default     = "quaymaster"
  nullable    = false
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.name))
    error_message = "name is \"${var.name}\": use 6 to 30 small letters, digits and dashes, beginning with a letter: the service account is called so as well."
  }
}

variable "project" {
  description = "The project in which everything is made."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project is \"${var.project}\": give its ID, as in shop-prod, not its number."
  }
}

variable "region" {
  description = "The region of the group, as in europe-west3; its hosts are spread over zones."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is \"${var.region}\": write it as in europe-west3, without a zone."
  }
}

variable "zones" {
  description = "The zones to spread the hosts over; empty: Google's choice."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "image" {
  description = "The image that the hosts boot: one that packaging/image made, its family, or any with cloud-init and a package_repository."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^(projects/[^/]+/global/images/(family/)?[^/]+|https://.+)$", var.image))
    error_message = "image is \"${var.image}\": write it as in projects/shop-prod/global/images/family/docker-host."
  }
}

variable "machine_type" {
  description = "The type of machine, of the same architecture as the image."
  type        = string
  default     = "e2-small"
  nullable    = false
}

variable "subnetwork" {
  description = "The subnetwork that the hosts run in, with a way to Google's APIs (Private Google Access, or NAT)."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^(https://.+/)?projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$", var.subnetwork))
    error_message = "subnetwork is \"${var.subnetwork}\": write it as in projects/shop-prod/regions/europe-west3/subnetworks/hosts."
  }
}

variable "network_tags" {
  description = "Tags by which firewall rules know the hosts. Hosts need no way in; out to Vault, Google's APIs and registries."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "size" {
  description = "How many hosts."
  type        = number
  default     = 2
  nullable    = false
  validation {
    condition     = var.size >= 0 && floor(var.size) == var.size
    error_message = "size is a whole number, at least 0."
  }
}

variable "root_disk" {
  description = "The root disk: GiB, kind, and a key of one's own (null: Google's)."
  type        = object({ size = optional(number, 20), type = optional(string, "pd-balanced"), kms_key = optional(string) })
  default     = {}
  nullable    = false
  validation {
    condition     = var.root_disk.size >= 10
    error_message = "root_disk.size is at least 10 GiB."
  }
}

variable "update" {
  description = "How hosts are replaced when what they are made of changes: hosts more than wanted, and hosts less, meanwhile (null: as many as there are zones, and none); a health check that says when one counts; seconds it is given to come up."
  type = object({
    max_surge       = optional(number)
    max_unavailable = optional(number, 0)
    health_check    = optional(string)
    initial_delay   = optional(number, 300)
  })
  default  = {}
  nullable = false
  validation {
    condition     = var.update.max_surge == null || try(var.update.max_surge + var.update.max_unavailable > 0, false)
    error_message = "update: with neither more nor fewer hosts than wanted none can be replaced."
  }
}

variable "whole_projects" {
  description = "Projects in which a wildcard of a grant may be given a role, with their numbers, as in { shop-prod = \"123456789012\" }: the role is bound to the project, with a condition on names."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "block_metadata_from_containers" {
  description = "Keep containers on Docker's bridges from the metadata service, and so from the hosts' identity: Google Cloud has no hop limit that would."
  type        = bool
  default     = true
  nullable    = false
}

variable "labels" {
  description = "Labels of everything that is made and can have them."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "metadata" {
  description = "More metadata attributes of the hosts. Not quaymaster-*, which would be read as configuration, and no user-data."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = alltrue([for key in keys(var.metadata) : !startswith(key, "quaymaster-") && !contains(["user-data", "startup-script"], key)])
    error_message = "metadata: quaymaster-* and user-data are made of vault, grants, settings, files and commands: use those."
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
