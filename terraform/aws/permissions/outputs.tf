output "policy" {
  description = "The host's policy, as JSON; null: it needs none."
  value       = local.policies[""]
}

output "reads" {
  description = "Whether anything of AWS's stores is read; known at plan, where the policy need not be."
  value       = length(local.secrets) + length(local.parameters) + length(local.parameters_by_arn) + length(local.paths) > 0
}

output "assumed" {
  description = "The policies of the roles that providers assume, by the role's ARN, for whoever owns those roles."
  value       = { for role in local.roles : role => local.policies[role] if local.policies[role] != null }
}

output "problems" {
  description = "Patterns that IAM cannot be told exactly, one sentence each; empty: none."
  value       = local.problems
}
