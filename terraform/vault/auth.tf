# The auth method of the hosts' cloud, and one role for each login: all are bound
# to the same identity, that of the hosts.

locals {
  clouds = { for cloud, about in { aws = var.aws, azure = var.azure, gcp = var.gcp } : cloud => about.mount if about != null }
  cloud  = try(keys(local.clouds)[0], null)
  mount  = try(values(local.clouds)[0], null)
}

resource "vault_auth_backend" "this" {
  count       = try(var.aws.create_mount, false) || try(var.azure.create_mount, false) ? 1 : 0
  type        = local.cloud
  path        = local.mount
  description = "Docker hosts, for Quaymaster"
}

resource "vault_aws_auth_backend_client" "this" {
  count                      = try(var.aws.create_mount, false) ? 1 : 0
  backend                    = vault_auth_backend.this[0].path
  iam_server_id_header_value = var.aws.server_id
  sts_region                 = var.aws.sts_region
  sts_endpoint               = var.aws.sts_endpoint
}

# So that Vault's log says who logged in. Without auth_type Vault could not tell at
# a renewal how the token was had, and would refuse it.
resource "vault_aws_auth_backend_config_identity" "this" {
  count        = try(var.aws.create_mount, false) ? 1 : 0
  backend      = vault_auth_backend.this[0].path
  iam_alias    = "role_id"
  iam_metadata = ["account_id", "auth_type", "canonical_arn", "client_arn"]
}

resource "vault_aws_auth_backend_role" "this" {
  for_each                 = var.aws == null ? {} : local.policies_of_roles
  backend                  = try(vault_auth_backend.this[0].path, var.aws.mount)
  role                     = each.key
  auth_type                = "iam"
  bound_iam_principal_arns = var.aws.bound_iam_principal_arns
  resolve_aws_unique_ids   = var.aws.resolve_aws_unique_ids
  token_policies           = each.value
  token_type               = "service"
  token_ttl                = var.token.ttl
  token_max_ttl            = var.token.max_ttl
  token_bound_cidrs        = var.token.bound_cidrs
  depends_on               = [vault_aws_auth_backend_client.this, vault_policy.this]
}

resource "vault_azure_auth_backend_config" "this" {
  count                    = try(var.azure.create_mount, false) ? 1 : 0
  backend                  = vault_auth_backend.this[0].path
  tenant_id                = var.azure.tenant_id
  resource                 = var.azure.resource
  environment              = var.azure.environment
  client_id                = var.azure.client_id
  client_secret_wo         = try(var.azure_client_secret.value, null)
  client_secret_wo_version = try(nonsensitive(var.azure_client_secret.version), null)
}

resource "vault_azure_auth_backend_role" "this" {
  for_each                    = var.azure == null ? {} : local.policies_of_roles
  backend                     = try(vault_auth_backend.this[0].path, var.azure.mount)
  role                        = each.key
  bound_service_principal_ids = var.azure.bound_service_principal_ids
  bound_subscription_ids      = var.azure.bound_subscription_ids
  bound_resource_groups       = var.azure.bound_resource_groups
  bound_locations             = var.azure.bound_locations
  bound_scale_sets            = var.azure.bound_scale_sets
  token_policies              = each.value
  token_type                  = "service"
  token_ttl                   = var.token.ttl
  token_max_ttl               = var.token.max_ttl
  token_bound_cidrs           = var.token.bound_cidrs
  depends_on                  = [vault_azure_auth_backend_config.this, vault_policy.this]
}

resource "vault_gcp_auth_backend" "this" {
  count       = try(var.gcp.create_mount, false) ? 1 : 0
  path        = var.gcp.mount
  description = "Docker hosts, for Quaymaster"
  dynamic "custom_endpoint" {
    for_each = var.gcp.custom_endpoint == null ? [] : [var.gcp.custom_endpoint]
    content {
      api     = custom_endpoint.value.api
      iam     = custom_endpoint.value.iam
      crm     = custom_endpoint.value.crm
      compute = custom_endpoint.value.compute
    }
  }
}

resource "vault_gcp_auth_backend_role" "this" {
  for_each               = var.gcp == null ? {} : local.policies_of_roles
  backend                = try(vault_gcp_auth_backend.this[0].path, var.gcp.mount)
  role                   = each.key
  type                   = var.gcp.type
  bound_service_accounts = var.gcp.bound_service_accounts
  bound_projects         = var.gcp.bound_projects
  bound_zones            = var.gcp.type == "gce" ? var.gcp.bound_zones : null
  bound_regions          = var.gcp.type == "gce" ? var.gcp.bound_regions : null
  bound_labels           = var.gcp.type == "gce" ? var.gcp.bound_labels : null
  bound_instance_groups  = var.gcp.type == "gce" ? var.gcp.bound_instance_groups : null
  token_policies         = each.value
  token_type             = "service"
  token_ttl              = var.token.ttl
  token_max_ttl          = var.token.max_ttl
  token_bound_cidrs      = var.token.bound_cidrs
  depends_on             = [vault_policy.this]
}
