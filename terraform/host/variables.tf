variable "identity" {
  description = "The cloud whose identity the host has: aws, azure or gcp."
  type        = string
  nullable    = false
  validation {
    condition     = contains(["aws", "azure", "gcp"], var.identity)
    error_message = "identity is \"${var.identity}\": a host that Terraform makes has the identity of its cloud, aws, azure or gcp."
  }
}

variable "vault" {
  description = "The Vault of refs that begin with vault: (the output vault of terraform/vault); null: the host uses none. ca_pem is the authority of its certificate, written to a file beside the configuration."
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

  validation {
    condition     = var.vault == null || can(regex("^(https|srv)://[^/?#@]+/?$", var.vault.address)) || can(regex("^http://(localhost|127\\.[0-9.]+|\\[::1\\])(:[0-9]+)?/?$", var.vault.address))
    error_message = "vault.address is \"${try(coalesce(var.vault.address, ""), "")}\": write it as https://vault.internal:8200 or srv://_vault._tcp.example.internal; plain http is for loopback only, for tokens are sent there."
  }
  validation {
    condition     = var.vault == null || can(regex("^[^/]+$", var.vault.role))
    error_message = "vault.role is \"${try(coalesce(var.vault.role, ""), "")}\": name the role that the host logs in as, without its path."
  }
  validation {
    condition     = try(var.vault.mount, null) == null || try(can(regex("^[^/]+(/[^/]+)*$", var.vault.mount)) && !startswith(var.vault.mount, "auth/"), false)
    error_message = "vault.mount is \"${try(coalesce(var.vault.mount, ""), "")}\": write it without auth/ before it and without a slash around it, as in \"aws\"."
  }
  validation {
    condition     = try(var.vault.ca_pem, null) == null || can(regex("-----BEGIN CERTIFICATE-----", var.vault.ca_pem))
    error_message = "vault.ca_pem holds no certificate: give the PEM text, as file(\"ca.pem\") reads it."
  }
  validation {
    condition     = try(var.vault.rate, null) == null || try(var.vault.rate >= 1 && floor(var.vault.rate) == var.vault.rate, false)
    error_message = "vault.rate is how many requests a second Vault may be asked: a whole number, at least 1."
  }
}

# What is wrong with the grants is said by the output configuration: it takes
# the rest of the input to know.
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
  description = "Other top-level keys of quaymaster.yaml, as in { gate_timeout = \"60s\", profiles = {…}, providers = {…} }."
  type        = any
  default     = {}
  nullable    = false
  validation {
    condition     = can(keys(var.settings))
    error_message = "settings is an object whose keys are those of quaymaster.yaml."
  }
  validation {
    condition     = length(setintersection(try(keys(var.settings), []), ["identity", "vault", "grants"])) == 0
    error_message = "settings has a key that is an input of its own (identity, vault, grants): give it there."
  }
  validation {
    condition     = length(setintersection(try(keys(var.settings), []), ["allow_static_identity", "static_identity"])) == 0
    error_message = "settings asks for a static identity: a host in a cloud has an identity without a credential in a file."
  }
}

variable "files" {
  description = "More files for the host, a compose file for one. No secrets: whoever may describe the instance can read its user-data."
  type        = list(object({ path = string, content = string, permissions = optional(string, "0644") }))
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for f in var.files : startswith(f.path, "/") && !strcontains(f.path, "/../") && !endswith(f.path, "/")])
    error_message = "files: a path is absolute and names a file: ${join(", ", [for f in var.files : f.path if !startswith(f.path, "/") || strcontains(f.path, "/../") || endswith(f.path, "/")])}."
  }
  validation {
    condition     = alltrue([for f in var.files : can(regex("^0[0-7]{3}$", f.permissions))])
    error_message = "files: permissions are four octal digits as in 0644; not so: ${join(", ", [for f in var.files : f.path if !can(regex("^0[0-7]{3}$", f.permissions))])}."
  }
  validation {
    condition     = length(distinct(var.files[*].path)) == length(var.files)
    error_message = "files: a path is given twice."
  }
}

variable "commands" {
  description = "What cloud-init runs at the first boot after all else, each a line for the shell."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "package_repository" {
  description = "Where the package quaymaster comes from, for images that do not have it: apt (a line of sources.list with [signed-by=$KEY_FILE], and its key), yum (a URL, and that of its key), or both. version pins it."
  type = object({
    apt     = optional(object({ source = string, key = string }))
    yum     = optional(object({ baseurl = string, gpgkey = string }))
    version = optional(string)
  })
  default = null
  validation {
    condition     = var.package_repository == null || try(var.package_repository.apt, null) != null || try(var.package_repository.yum, null) != null
    error_message = "package_repository names no repository: give apt, yum, or both."
  }
  validation {
    condition     = try(var.package_repository.apt, null) == null || can(regex("^deb \\[.*signed-by=\\$KEY_FILE.*\\] ", var.package_repository.apt.source))
    error_message = "package_repository.apt.source is a line such as deb [signed-by=$KEY_FILE] https://packages.example.com/debian stable main: only so does its key count for this repository alone."
  }
}

variable "directory" {
  description = "Where the configuration lies on the host."
  type        = string
  default     = "/etc/quaymaster"
  nullable    = false
  validation {
    condition     = can(regex("^(/[^/]+)+$", var.directory))
    error_message = "directory is an absolute path without a slash at its end."
  }
}

variable "block_metadata" {
  description = "Keep containers on Docker's bridges from the cloud's metadata service, and so from the host's identity, at each boot and before Docker starts. AWS needs no such rule where the hop limit is 1."
  type        = bool
  default     = false
  nullable    = false
}
