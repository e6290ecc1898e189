variable "refs" {
  description = "What the grants name, by provider: the output refs of terraform/host. Only providers of Azure count."
  type        = map(list(object({ grant = string, text = string, path = string })))
  nullable    = false
}

variable "stores" {
  description = "The key providers of quaymaster.yaml: which providers are of Azure, and as which identity they read."
  type        = any
  default     = {}
  nullable    = false
}

variable "key_vaults" {
  description = "The resource ID of each Key Vault that grants name, by its name."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = alltrue([for name, id in var.key_vaults : can(regex("(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\\.KeyVault/vaults/${name}$", id))])
    error_message = "key_vaults: the ID of vault shop-kv is /subscriptions/…/resourceGroups/…/providers/Microsoft.KeyVault/vaults/shop-kv; not so: ${join(", ", [for name, id in var.key_vaults : name if !can(regex("(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\\.KeyVault/vaults/${name}$", id))])}."
  }
}

variable "boot_cache_key" {
  description = "The key that seals the boot cache (boot_cache.key_id of quaymaster.yaml), a URL; null: none of Azure's."
  type        = string
  default     = null
}
