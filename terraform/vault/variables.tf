# What is wrong with the grants is said by the output vault: it takes the rest
# of the input to know.
variable "grants" {
  description = "Which workloads may have which secrets, by the name of the grant; the same as for terraform/host."
  type = map(object({
    workloads  = map(string)
    secrets    = list(string)
    vault      = optional(object({ role = optional(string), policies = optional(list(string)) }))
    boot_cache = optional(bool, false)
  }))
  default  = {}
  nullable = false
}

variable "provider_name" {
  description = "What refs to this Vault begin with: vault, or the name of a provider of type vault."
  type        = string
  default     = "vault"
  nullable    = false
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.provider_name))
    error_message = "provider_name is \"${var.provider_name}\": use lower-case letters, digits and dashes, starting with a letter."
  }
}

variable "address" {
  description = "Where the hosts find Vault, as in https://vault.internal:8200; passed on to the output vault."
  type        = string
  nullable    = false
}

variable "ca_pem" {
  description = "The authority of Vault's certificate (PEM), passed on to the output vault."
  type        = string
  default     = null
}

variable "namespace" {
  description = "The namespace in Vault Enterprise, passed on to the output vault; everything is made in the namespace of the provider's configuration."
  type        = string
  default     = null
}

variable "role" {
  description = "The role that the hosts log in as. Policies are called by it: <role>-<grant>."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_.-]*$", var.role))
    error_message = "role is \"${var.role}\": policies are called by it, and Vault keeps these in lower case: use lower-case letters, digits, dashes, dots and underscores."
  }
}

variable "mounts" {
  description = "Where secrets engines are mounted, by kind, because each kind takes other rules. Key-value engines must be named; the others count where Vault puts them by default. other: engines that are read, or written to with ?method=write."
  type = object({
    kv_v2      = optional(set(string), [])
    kv_v1      = optional(set(string), [])
    pki        = optional(set(string), ["pki"])
    ssh        = optional(set(string), ["ssh"])
    transit    = optional(set(string), ["transit"])
    kubernetes = optional(set(string), ["kubernetes"])
    other = optional(set(string), ["ad", "alicloud", "aws", "azure", "consul", "database", "gcp", "ldap", "mongodbatlas",
    "nomad", "openldap", "rabbitmq", "terraform", "totp"])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for mount in flatten([for kind, mounts in var.mounts : tolist(mounts)]) : can(regex("^[^/*+\"\\\\]+(/[^/*+\"\\\\]+)*$", mount))])
    error_message = "mounts: write a mount without a slash around it and without wildcards, as in \"kv\" or \"team/kv\"."
  }
  validation {
    condition     = length(distinct(flatten([for kind, mounts in var.mounts : tolist(mounts)]))) == length(flatten([for kind, mounts in var.mounts : tolist(mounts)]))
    error_message = "mounts: the same mount stands under two kinds: ${join(", ", distinct([for m in flatten([for kind, mounts in var.mounts : tolist(mounts)]) : m if length([for kind, mounts in var.mounts : kind if contains(mounts, m)]) > 1]))}."
  }
}

variable "check_versions" {
  description = "Let the host ask which version of a secret is current before it reads it again: adds kv/metadata/…"
  type        = bool
  default     = false
  nullable    = false
}

variable "existing_policies" {
  description = "Policies that grants name and that are made elsewhere. All others that grants name are made here, from those grants."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "existing_roles" {
  description = "Roles that grants name and that are made elsewhere, with their policies. All others that grants name are made here, bound as the hosts' own."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "token" {
  description = "Of the hosts' tokens: TTL and max TTL in seconds, and the networks that they may be used from."
  type = object({
    ttl         = optional(number, 3600)
    max_ttl     = optional(number)
    bound_cidrs = optional(set(string))
  })
  default  = {}
  nullable = false
  validation {
    condition     = var.token.ttl >= 60
    error_message = "token.ttl is less than a minute: that is only load. An hour is a good start."
  }
  validation {
    condition     = try(var.token.max_ttl >= var.token.ttl, true)
    error_message = "token.max_ttl is shorter than token.ttl."
  }
}

variable "aws" {
  description = "Hosts in AWS: they log in as an IAM role. create_mount: false where the auth method is there already, with server_id and the STS as given here."
  type = object({
    mount                    = optional(string, "aws")
    create_mount             = optional(bool, true)
    bound_iam_principal_arns = set(string)
    resolve_aws_unique_ids   = optional(bool, false)
    server_id                = optional(string)
    sts_region               = optional(string)
    sts_endpoint             = optional(string)
  })
  default = null
  validation {
    condition     = var.aws == null || try(length(var.aws.bound_iam_principal_arns) > 0, false)
    error_message = "aws.bound_iam_principal_arns is empty: name the role of the hosts, as in arn:aws:iam::123456789012:role/docker-host."
  }
  validation {
    condition     = alltrue([for arn in try(var.aws.bound_iam_principal_arns, []) : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$", arn))])
    error_message = "aws.bound_iam_principal_arns: not the ARN of an IAM role: ${join(", ", [for arn in try(var.aws.bound_iam_principal_arns, []) : arn if !can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$", arn))])}. It is the role itself (arn:aws:iam::123456789012:role/docker-host), not its session or instance profile."
  }
}

variable "azure" {
  description = "Hosts in Azure: they log in as a managed identity. tenant_id, resource, environment and client_id configure the auth method, where create_mount makes it."
  type = object({
    mount                       = optional(string, "azure")
    create_mount                = optional(bool, true)
    tenant_id                   = optional(string)
    resource                    = optional(string, "https://management.azure.com/")
    environment                 = optional(string)
    client_id                   = optional(string)
    bound_service_principal_ids = set(string)
    bound_subscription_ids      = optional(set(string), [])
    bound_resource_groups       = optional(set(string), [])
    bound_locations             = optional(set(string), [])
    bound_scale_sets            = optional(set(string), [])
  })
  default = null
  validation {
    condition     = var.azure == null || try(length(var.azure.bound_service_principal_ids) > 0 && !contains(var.azure.bound_service_principal_ids, "*"), false)
    error_message = "azure.bound_service_principal_ids: name the principal (object) ID of the hosts' identity. A role bound to a resource group alone also takes any identity that lies in the group."
  }
  validation {
    condition     = var.azure == null || try(!var.azure.create_mount || var.azure.tenant_id != null, false)
    error_message = "azure.tenant_id is missing: the auth method that is made needs it (or set create_mount = false)."
  }
}

variable "azure_client_secret" {
  description = "The secret of azure.client_id, the application as which Vault asks Azure about machines. It is written to Vault and kept in no state; raise version with each new one."
  type        = object({ value = string, version = optional(number, 1) })
  default     = null
  sensitive   = true
}

variable "gcp" {
  description = "Hosts in Google Cloud: they log in as an instance (gce) or as a service account (iam). custom_endpoint is for create_mount: the hosts of Google's APIs as Vault reaches them."
  type = object({
    mount                  = optional(string, "gcp")
    create_mount           = optional(bool, true)
    type                   = optional(string, "gce")
    bound_service_accounts = set(string)
    bound_projects         = optional(set(string), [])
    bound_zones            = optional(set(string), [])
    bound_regions          = optional(set(string), [])
    bound_labels           = optional(set(string), [])
    bound_instance_groups  = optional(set(string), [])
    custom_endpoint        = optional(object({ api = optional(string), iam = optional(string), crm = optional(string), compute = optional(string) }))
  })
  default = null
  validation {
    condition     = var.gcp == null || try(contains(["gce", "iam"], var.gcp.type), false)
    error_message = "gcp.type is gce (the instance logs in) or iam (its service account does)."
  }
  validation {
    condition     = var.gcp == null || try(length(var.gcp.bound_service_accounts) > 0 && !contains(var.gcp.bound_service_accounts, "*"), false)
    error_message = "gcp.bound_service_accounts: name the service account of the hosts, as in docker-host@shop-prod.iam.gserviceaccount.com; a role bound to a project alone takes every machine in it."
  }
  validation {
    condition     = try(var.gcp.type, "gce") == "gce" || try(length(setunion(var.gcp.bound_zones, var.gcp.bound_regions, var.gcp.bound_labels, var.gcp.bound_instance_groups)) == 0, true)
    error_message = "gcp: zones, regions, labels and instance groups bind instances: not with type iam."
  }
}
