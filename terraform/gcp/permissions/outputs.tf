output "secrets" {
  description = "The secrets that the host reads: {project, location, secret, condition, versions} by name. condition is null or bounds the versions; versions: it also asks which there are."
  value       = local.secrets
}

output "projects" {
  description = "What wildcards need: {project, condition, versions} by pattern."
  value       = local.projects
}

output "impersonated" {
  description = "The service accounts that providers read as; what these may read is for whoever owns them."
  value       = toset([for name, store in local.ours : store.as if store.as != null])
}

output "problems" {
  description = "What Google Cloud cannot be told, one sentence each; empty: none."
  value       = local.problems
}
