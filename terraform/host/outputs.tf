output "configuration" {
  description = "quaymaster.yaml."
  value       = local.configuration
  precondition {
    condition     = length(module.grants.problems) == 0
    error_message = join("\n", module.grants.problems)
  }
}

output "user_data" {
  description = "The user-data of the host: a #cloud-config that writes the configuration and whatever else was asked for."
  value       = "#cloud-config\n${yamlencode(local.cloud_config)}"
}

output "refs" {
  description = "All that the grants name, by provider: a list of {grant, text, path, field, version, params}. In a path * and ** are wildcards, and a literal asterisk is written %2A."
  value       = module.grants.refs
}
