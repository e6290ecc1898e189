# Hosts that are the same but for their number: one template, one group that
# replaces them in steps when anything of them changes.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

module "host" {
  source             = "../host"
  identity           = "aws"
  vault              = var.vault
  grants             = var.grants
  settings           = var.settings
  files              = var.files
  commands           = var.commands
  package_repository = var.package_repository
}

locals {
  tags = merge(var.tags, { Name = var.name })

  # EC2 takes 16 KiB before base64. Where that is too little, it goes compressed,
  # which cloud-init and the agent read as well.
  limit     = 16384
  plain     = base64encode(module.host.user_data)
  packed    = base64gzip(module.host.user_data)
  fits      = length(local.plain) * 3 / 4 - length(regexall("=", local.plain)) <= local.limit
  user_data = local.fits ? local.plain : local.packed
  bytes     = length(local.user_data) * 3 / 4 - length(regexall("=", local.user_data))
}

resource "aws_launch_template" "host" {
  name_prefix            = "${var.name}-"
  image_id               = var.ami_id
  instance_type          = var.instance_type
  key_name               = var.key_name
  user_data              = local.user_data
  update_default_version = true
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.host.arn
  }

  # A container is one hop further away than the host, so that it cannot have
  # the host's identity; and what has no session token gets no answer at all.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = var.instance_metadata_tags ? "enabled" : "disabled"
  }

  network_interfaces {
    associate_public_ip_address = var.associate_public_ip_address
    delete_on_termination       = true
    security_groups             = var.security_group_ids
  }

  block_device_mappings {
    device_name = var.root_volume.device_name
    ebs {
      encrypted             = true
      kms_key_id            = var.root_volume.kms_key_arn
      volume_type           = "gp3"
      volume_size           = var.root_volume.size
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]
    content {
      resource_type = tag_specifications.value
      tags          = local.tags
    }
  }

  lifecycle {
    create_before_destroy = true
    precondition {
      condition     = local.bytes <= local.limit
      error_message = "the user-data has ${local.bytes} bytes even when compressed, and EC2 takes 16384: put files and commands into the image, or write grants with fewer patterns."
    }
  }
}

resource "aws_autoscaling_group" "host" {
  name_prefix             = "${var.name}-"
  min_size                = var.size.min
  max_size                = var.size.max
  desired_capacity        = var.size.desired
  vpc_zone_identifier     = var.subnet_ids
  target_group_arns       = var.target_group_arns
  health_check_type       = var.health_check_type
  default_instance_warmup = var.refresh.instance_warmup

  launch_template {
    id      = aws_launch_template.host.id
    version = aws_launch_template.host.latest_version
  }

  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = var.refresh.min_healthy_percentage
      checkpoint_percentages = length(var.refresh.checkpoint_percentages) == 0 ? null : var.refresh.checkpoint_percentages
      checkpoint_delay       = length(var.refresh.checkpoint_percentages) == 0 ? null : var.refresh.checkpoint_delay
      instance_warmup        = var.refresh.instance_warmup
      auto_rollback          = true
      skip_matching          = true
    }
  }

  dynamic "tag" {
    for_each = local.tags
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = false # the template tags instances, and their disks
    }
  }

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [desired_capacity] # scaling is not Terraform's
    precondition {
      condition     = var.health_check_type == "EC2" || length(var.target_group_arns) > 0
      error_message = "health_check_type is ELB, but no target group is named: give target_group_arns."
    }
  }

  depends_on = [aws_iam_role_policy.secrets]
}
