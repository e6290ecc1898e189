# Who the hosts are, and what they may. A login to Vault needs no role: whoever
# has an identity may ask for its token.

resource "azurerm_user_assigned_identity" "host" {
  name                = var.name
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

module "permissions" {
  source         = "./permissions"
  refs           = { for name, refs in module.host.refs : name => [for r in refs : { grant = r.grant, text = r.text, path = r.path }] }
  stores         = try(var.settings.providers, {})
  key_vaults     = var.key_vaults
  boot_cache_key = try(var.settings.boot_cache.key, null) == "azure-key" ? var.settings.boot_cache.key_id : null
}

# What is wrong is said where it cannot be overlooked, and before anything is made.
resource "terraform_data" "exact" {
  input = module.permissions.problems
  lifecycle {
    precondition {
      condition     = length(module.permissions.problems) == 0
      error_message = join("\n", module.permissions.problems)
    }
  }
}

resource "azurerm_role_assignment" "host" {
  for_each                         = module.permissions.assignments
  scope                            = each.value.scope
  role_definition_name             = each.value.role
  principal_id                     = azurerm_user_assigned_identity.host.principal_id
  principal_type                   = "ServicePrincipal"
  skip_service_principal_aad_check = true # the directory may not know it yet
}
