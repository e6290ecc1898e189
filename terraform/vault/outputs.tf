locals {
  problems = concat(
    length(local.clouds) == 1 ? [] : ["give one of aws, azure and gcp: the cloud whose identity the hosts log in with"],
    module.grants.problems, local.problems_of_refs, local.problems_of_logins,
  )
}

output "vault" {
  description = "The input vault of terraform/host and of the clouds' modules."
  value = {
    address        = var.address
    role           = var.role
    mount          = local.mount
    namespace      = var.namespace
    ca_pem         = var.ca_pem
    server_id      = var.aws != null ? var.aws.server_id : try(var.azure.resource == "https://management.azure.com/" ? null : var.azure.resource, null)
    sts_region     = try(var.aws.sts_region, null)
    sts_endpoint   = try(var.aws.sts_endpoint, null)
    check_versions = var.check_versions ? true : null
  }
  precondition {
    condition     = length(local.problems) == 0
    error_message = join("\n", local.problems)
  }
  depends_on = [vault_policy.this, vault_aws_auth_backend_role.this, vault_azure_auth_backend_role.this, vault_gcp_auth_backend_role.this]
}

output "policies" {
  description = "The text of each policy that is made, by its name."
  value       = merge(local.of_agent, local.of_grants)
}

output "roles" {
  description = "The policies of each role that is made, by its name; the hosts' own is among them."
  value       = local.policies_of_roles
}
