# What Azure must allow for what the grants name. Azure's roles know a vault and
# a secret, nothing between and nothing below: what lies between is a problem,
# and never becomes more than was granted.

locals {
  # A provider with an identity of its own reads as that: what it needs is not
  # the host's.
  providers = concat(
    contains(keys(var.stores), "azure") ? [] : ["azure"],
    [for name, store in var.stores : name if try(store.type, name) == "azure" && try(store.client_id, null) == null],
  )
  refs = [for p in flatten([for name, refs in var.refs : [for ref in refs : ref] if contains(local.providers, name)]) : merge(p, {
    # The first label of a vault's whole host is its name.
    vault  = try(split(".", split("/", p.path)[0])[0], "")
    secret = join("/", slice(split("/", p.path), 1, length(split("/", p.path))))
  })]

  key = var.boot_cache_key == null ? null : try(regex("^https://([a-z0-9-]+)\\.[^/]+/keys/([A-Za-z0-9-]+)(?:/[0-9a-f]+)?$", var.boot_cache_key), null)

  problem = { for ref in local.refs : ref.text => (
    strcontains(ref.vault, "*") ? "name one vault, as in azure:shop-kv/db-password"
    : ref.secret == "" ? "name the secret after its vault, as in azure:shop-kv/db-password"
    : !contains(keys(var.key_vaults), ref.vault) ? "key_vaults does not say where the vault ${ref.vault} is: add ${ref.vault} = \"/subscriptions/…/vaults/${ref.vault}\""
    : strcontains(ref.secret, "*") && !contains(["*", "**"], ref.secret) ? "Azure's roles know a secret or a whole vault, so that this would allow more than it says: name each secret, put those that belong together into a vault of their own, or write azure:${ref.vault}/**"
    : !can(regex("^([A-Za-z0-9-]{1,127}|[*]{1,2})$", ref.secret)) ? "a secret in Key Vault is called by up to 127 letters, digits and dashes"
    : null
  ) }

  problems = concat(
    [for ref in local.refs : "grant ${ref.grant}: pattern \"${ref.text}\": ${local.problem[ref.text]}" if local.problem[ref.text] != null],
    var.boot_cache_key == null || local.key != null ? [] : ["boot_cache.key_id is \"${coalesce(var.boot_cache_key, "null")}\": write it as https://shop-kv.vault.azure.net/keys/boot"],
    local.key == null ? [] : contains(keys(var.key_vaults), local.key[0]) ? [] : ["boot_cache.key_id: key_vaults does not say where the vault ${local.key[0]} is"],
  )

  fine  = [for ref in local.refs : ref if local.problem[ref.text] == null]
  whole = distinct([for ref in local.fine : ref.vault if strcontains(ref.secret, "*")])

  secrets = [for ref in local.fine : "${ref.vault}/${ref.secret}" if !contains(local.whole, ref.vault)]

  # By a name that is known before anything is made. With a problem there are
  # none: half of what is granted helps nobody.
  assignments = { for name, scope in merge(
    { for vault in local.whole : "${vault}/**" => var.key_vaults[vault] },
    { for name in distinct(local.secrets) : name => "${var.key_vaults[split("/", name)[0]]}/secrets/${split("/", name)[1]}" },
  ) : name => { role = "Key Vault Secrets User", scope = scope } if length(local.problems) == 0 }

  sealing = { for name, key in { "boot cache" = local.key } : name => {
    role  = "Key Vault Crypto Service Encryption User"
    scope = "${var.key_vaults[key[0]]}/keys/${key[1]}"
  } if key != null && length(local.problems) == 0 }
}
