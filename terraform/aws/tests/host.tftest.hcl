mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
}

variables {
  ami_id             = "ami-0123456789abcdef0"
  subnet_ids         = ["subnet-0a", "subnet-0b"]
  security_group_ids = ["sg-0a"]
  vault              = { address = "https://vault.internal:8200", role = "docker-host" }
  grants = {
    timeline = {
      workloads = { "compose.project" = "shop", "compose.service" = "timeline" }
      secrets   = ["vault:kv/shop/timeline/**", "aws:prod/timeline/db#password", "aws:ssm/prod/timeline/%2A"]
    }
  }
}

run "a_host_keeps_its_identity_to_itself" {
  assert {
    condition = jsonencode(aws_launch_template.host.metadata_options[0]) == jsonencode({
      http_endpoint = "enabled", http_protocol_ipv6 = null, http_put_response_hop_limit = 1, http_tokens = "required", instance_metadata_tags = "disabled"
    })
    error_message = jsonencode(aws_launch_template.host.metadata_options)
  }
  assert {
    condition     = aws_launch_template.host.key_name == null && tostring(aws_launch_template.host.network_interfaces[0].associate_public_ip_address) == "false"
    error_message = "a key pair or a public address that nobody asked for"
  }
  assert {
    condition     = tostring(aws_launch_template.host.block_device_mappings[0].ebs[0].encrypted) == "true" && aws_launch_template.host.block_device_mappings[0].ebs[0].volume_type == "gp3"
    error_message = jsonencode(aws_launch_template.host.block_device_mappings)
  }
  assert {
    condition     = aws_autoscaling_group.host.instance_refresh[0].preferences[0].min_healthy_percentage == 90 && aws_autoscaling_group.host.instance_refresh[0].preferences[0].checkpoint_percentages == tolist([20, 50, 100])
    error_message = jsonencode(aws_autoscaling_group.host.instance_refresh)
  }
}

run "its_role_may_what_the_grants_name" {
  assert {
    condition = jsondecode(aws_iam_role_policy.secrets[0].policy) == { Version = "2012-10-17", Statement = [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/timeline/db-??????"] },
      { Sid = "ReadPaths", Effect = "Allow", Action = ["ssm:GetParametersByPath"], Resource = ["arn:aws:ssm:eu-west-1:123456789012:parameter/prod/timeline"],
      Condition = { StringEquals = { "ssm:Recursive" = ["false"] } } },
    ] }
    error_message = aws_iam_role_policy.secrets[0].policy
  }
  assert {
    condition = jsondecode(aws_iam_role.host.assume_role_policy) == { Version = "2012-10-17", Statement = [
      { Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } },
    ] }
    error_message = aws_iam_role.host.assume_role_policy
  }
  assert {
    condition     = length(aws_iam_role_policy.session) == 0
    error_message = "sessions that nobody asked for"
  }
  assert {
    condition     = base64decode(aws_launch_template.host.user_data) == output.user_data && strcontains(output.user_data, "/etc/quaymaster/conf.d/10-host.yaml")
    error_message = output.user_data
  }
  assert {
    condition     = yamldecode(output.configuration).identity == "aws" && yamldecode(output.configuration).grants[0].name == "timeline"
    error_message = output.configuration
  }
}

run "vault_alone_needs_no_policy" {
  variables {
    grants = { a = { workloads = { name = "a" }, secrets = ["vault:kv/a"] } }
  }
  assert {
    condition     = length(aws_iam_role_policy.secrets) == 0
    error_message = "a policy for nothing"
  }
}

run "a_session_allows_no_parameters" {
  variables {
    session_manager = true
  }
  assert {
    condition     = !strcontains(aws_iam_role_policy.session[0].policy, "Parameter")
    error_message = aws_iam_role_policy.session[0].policy
  }
}

run "boot_cache_and_another_region" {
  variables {
    settings = {
      boot_cache = { key = "aws-kms", key_id = "arn:aws:kms:eu-west-1:123456789012:key/boot" }
      providers  = { aws = { region = "eu-north-1" } }
    }
    grants = { a = { workloads = { name = "a" }, secrets = ["aws:a"], boot_cache = true } }
  }
  assert {
    condition = jsondecode(output.policy).Statement == [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-north-1:123456789012:secret:a-??????"] },
      { Sid = "SealBootCache", Effect = "Allow", Action = ["kms:Encrypt", "kms:Decrypt"], Resource = ["arn:aws:kms:eu-west-1:123456789012:key/boot"] },
    ]
    error_message = output.policy
  }
}

run "what_does_not_fit_goes_compressed" {
  variables {
    files = [{ path = "/srv/compose.yaml", content = join("\n", [for i in range(1000) : "# a line that is much like all the others, number ${i}"]) }]
  }
  assert {
    condition     = startswith(aws_launch_template.host.user_data, "H4sI") && length(aws_launch_template.host.user_data) * 3 / 4 <= 16384
    error_message = "the user-data is not gzip"
  }
}

run "what_does_not_fit_at_all" {
  command = plan
  variables {
    files = [{ path = "/srv/noise", content = join("", [for i in range(1000) : sha256("${i}")]) }]
  }
  expect_failures = [aws_launch_template.host]
}

run "a_pattern_wider_in_iam" {
  command = plan
  variables {
    grants = { a = { workloads = { name = "a" }, secrets = ["aws:prod/*"] } }
  }
  expect_failures = [aws_iam_role_policy.secrets]
}

run "more_than_a_role_takes" {
  command = plan
  variables {
    grants = { a = { workloads = { name = "a" }, secrets = [for i in range(120) : "aws:prod/a-secret-with-a-name-${i}"] } }
  }
  expect_failures = [aws_iam_role_policy.secrets]
}

run "bad_inputs" {
  command = plan
  variables {
    name               = "no spaces"
    ami_id             = "debian"
    instance_type      = "small"
    subnet_ids         = []
    security_group_ids = ["default"]
    size               = { min = 3, max = 2 }
    root_volume        = { size = 4 }
    refresh            = { checkpoint_percentages = [50] }
    health_check_type  = "docker"
    tags               = { "quaymaster-vault-address" = "https://elsewhere" }
  }
  expect_failures = [
    var.name, var.ami_id, var.instance_type, var.subnet_ids, var.security_group_ids, var.size, var.root_volume, var.refresh, var.health_check_type, var.tags,
  ]
}

run "elb_without_target_groups" {
  command = plan
  variables {
    health_check_type = "ELB"
  }
  expect_failures = [aws_autoscaling_group.host]
}
