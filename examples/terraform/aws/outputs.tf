output "autoscaling_group" {
  description = "The hosts' group."
  value       = module.hosts.autoscaling_group
}

output "policy" {
  description = "What the hosts may read of AWS's stores."
  value       = module.hosts.policy
}

output "configuration" {
  description = "quaymaster.yaml, as the hosts have it."
  value       = module.hosts.configuration
}
