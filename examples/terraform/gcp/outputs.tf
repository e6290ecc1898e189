output "instance_group" {
  description = "The hosts' group."
  value       = module.hosts.instance_group
}

output "bindings" {
  description = "What the hosts may read of Secret Manager."
  value       = module.hosts.bindings
}

output "configuration" {
  description = "quaymaster.yaml, as the hosts have it."
  value       = module.hosts.configuration
}
