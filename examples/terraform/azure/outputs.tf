output "scale_set" {
  description = "The hosts' scale set."
  value       = module.hosts.scale_set
}

output "assignments" {
  description = "What the hosts may read of Key Vault."
  value       = module.hosts.assignments
}

output "configuration" {
  description = "quaymaster.yaml, as the hosts have it."
  value       = module.hosts.configuration
}
