variable "grants" {
  description = "Which workloads may have which secrets, by the name of the grant."
  type = map(object({
    workloads  = map(string)
    secrets    = list(string)
    vault      = optional(object({ role = optional(string), policies = optional(list(string)) }))
    boot_cache = optional(bool, false)
  }))
  nullable = false
}

variable "known" {
  description = "Names of the providers that a pattern may name; null: any."
  type        = set(string)
  default     = null
}
