output "service_account_email" {
  description = "The hosts' service account: what terraform/vault takes as gcp.bound_service_accounts."
  value       = google_service_account.host.email
}

output "service_account_id" {
  description = "The unique ID of the hosts' service account."
  value       = google_service_account.host.unique_id
}

output "project" {
  description = "The project: what terraform/vault takes as gcp.bound_projects."
  value       = var.project
}

output "region" {
  description = "The region: what terraform/vault takes as gcp.bound_regions."
  value       = var.region
}

output "instance_group" {
  description = "The managed instance group, as load balancers name it."
  value       = google_compute_region_instance_group_manager.host.instance_group
}

output "bindings" {
  description = "What the hosts may read of Secret Manager: {project, role, condition} by secret or pattern."
  value = { for name, b in merge(local.global, local.regional, local.projects) :
  name => { project = b.project, role = b.role, condition = b.condition } }
}

output "configuration" {
  description = "quaymaster.yaml, as the hosts have it."
  value       = module.host.configuration
}

output "user_data" {
  description = "The hosts' user-data."
  value       = module.host.user_data
}
