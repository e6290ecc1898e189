output "role_arn" {
  description = "The hosts' role: what terraform/vault takes as aws.bound_iam_principal_arns."
  value       = aws_iam_role.host.arn
}

output "role_name" {
  description = "The name of the hosts' role, to attach more policies to."
  value       = aws_iam_role.host.name
}

output "instance_profile" {
  description = "The name of the instance profile."
  value       = aws_iam_instance_profile.host.name
}

output "autoscaling_group" {
  description = "The name of the Auto Scaling group."
  value       = aws_autoscaling_group.host.name
}

output "launch_template" {
  description = "The ID of the launch template."
  value       = aws_launch_template.host.id
}

output "policy" {
  description = "What the hosts may read of AWS's stores, as JSON; null: nothing."
  value       = module.permissions.policy
}

output "assumed_policies" {
  description = "What roles must be allowed that providers assume (assume_role), by the role's ARN, for whoever owns them."
  value       = module.permissions.assumed
}

output "configuration" {
  description = "quaymaster.yaml, as the hosts have it."
  value       = module.host.configuration
}

output "user_data" {
  description = "The hosts' user-data, before it is compressed and encoded."
  value       = module.host.user_data
}
