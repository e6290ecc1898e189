output "policy" {
  description = "The host's policy, as JSON; null: it needs none."
  value       = local.policies[""]
}

output "assumed" {
  description = "The policies of the roles that providers assume, by the role's ARN, for whoever owns those roles."
  value       = { for role in local.roles : role => local.policies[role] if local.policies[role] != null }
}

output "problems" {
  description = "Patterns that IAM cannot be told exactly, one sentence each; empty: none."
  value       = local.problems
}
