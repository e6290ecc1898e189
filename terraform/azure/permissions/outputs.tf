output "assignments" {
  description = "The roles that the host needs: {role, scope} each."
  value       = merge(local.assignments, local.sealing)
}

output "problems" {
  description = "What Azure cannot be told, one sentence each; empty: none."
  value       = local.problems
}
