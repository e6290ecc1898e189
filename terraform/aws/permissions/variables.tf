variable "refs" {
  description = "What the grants name, by provider: the output refs of terraform/host. Only providers of AWS count."
  type        = map(list(object({ grant = string, text = string, path = string, params = string })))
  nullable    = false
}

variable "stores" {
  description = "The key providers of quaymaster.yaml: which providers are of AWS, and their region, replicas, assume_role and check_versions."
  type        = any
  default     = {}
  nullable    = false
}

variable "partition" {
  description = "The partition of AWS: aws, aws-cn, aws-us-gov, …"
  type        = string
  nullable    = false
}

variable "dns_suffix" {
  description = "How names of services end in the partition, for kms:ViaService."
  type        = string
  default     = "amazonaws.com"
  nullable    = false
}

variable "region" {
  description = "The host's region: that of a provider which names none."
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "The host's account."
  type        = string
  nullable    = false
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id has twelve digits."
  }
}

variable "kms_key_arns" {
  description = "Keys of one's own with which granted secrets and parameters are encrypted. AWS's default keys need nothing."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for arn in var.kms_key_arns : can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "kms_key_arns: write a key's whole ARN, as in arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab (IAM takes no alias): ${join(", ", [for arn in var.kms_key_arns : arn if !can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])}."
  }
}

variable "boot_cache_key_arn" {
  description = "The key that seals the boot cache (boot_cache.key_id of quaymaster.yaml); null: none of AWS's."
  type        = string
  default     = null
  validation {
    condition     = var.boot_cache_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.boot_cache_key_arn))
    error_message = "boot_cache.key_id is \"${coalesce(var.boot_cache_key_arn, "null")}\": give the key's whole ARN, because IAM takes no alias."
  }
}
