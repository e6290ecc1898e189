output "principal_id" {
  description = "The hosts' identity: what terraform/vault takes as azure.bound_service_principal_ids."
  value       = azurerm_user_assigned_identity.host.principal_id
}

output "client_id" {
  description = "The client ID of the hosts' identity, as it is in their configuration."
  value       = azurerm_user_assigned_identity.host.client_id
}

output "identity_id" {
  description = "The resource ID of the hosts' identity."
  value       = azurerm_user_assigned_identity.host.id
}

output "tenant_id" {
  description = "The tenant: what terraform/vault takes as azure.tenant_id."
  value       = data.azurerm_client_config.current.tenant_id
}

output "subscription_id" {
  description = "The subscription: what terraform/vault takes as azure.bound_subscription_ids."
  value       = data.azurerm_client_config.current.subscription_id
}

output "resource_group_name" {
  description = "The resource group: what terraform/vault takes as azure.bound_resource_groups."
  value       = var.resource_group_name
}

output "scale_set" {
  description = "The name of the scale set: what terraform/vault takes as azure.bound_scale_sets."
  value       = var.name # not the resource's: hosts wait for Vault's role, which may be bound to this name
}

output "assignments" {
  description = "What the hosts may read of Key Vaults: {role, scope} each."
  value       = module.permissions.assignments
}

output "configuration" {
  description = "quaymaster.yaml, as the hosts have it."
  value       = module.host.configuration
}

output "user_data" {
  description = "The hosts' user-data, before it is compressed and encoded."
  value       = module.host.user_data
}
