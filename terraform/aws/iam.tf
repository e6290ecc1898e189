# Who the host is, and what it may. A login to Vault needs no permission:
# whoever has keys may ask who they are.

locals {
  seals = try(var.settings.boot_cache.key, null) == "aws-kms"
}

module "permissions" {
  source             = "./permissions"
  refs               = { for name, refs in module.host.refs : name => [for r in refs : { grant = r.grant, text = r.text, path = r.path, params = r.params }] }
  stores             = try(var.settings.providers, {})
  partition          = data.aws_partition.current.partition
  dns_suffix         = data.aws_partition.current.dns_suffix
  region             = data.aws_region.current.region
  account_id         = data.aws_caller_identity.current.account_id
  kms_key_arns       = var.kms_key_arns
  boot_cache_key_arn = local.seals ? var.settings.boot_cache.key_id : null
}

# It does not depend on the grants, nor on Vault: the role in Vault is bound to it,
# and comes before the hosts.
resource "aws_iam_role" "host" {
  name_prefix          = "${var.name}-"
  description          = "Docker hosts with Quaymaster: ${var.name}"
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Effect    = "Allow"
    Action    = "sts:AssumeRole"
    Principal = { Service = "ec2.${data.aws_partition.current.dns_suffix}" }
  }] })
}

resource "aws_iam_role_policy" "secrets" {
  count  = module.permissions.reads || local.seals || length(module.permissions.problems) > 0 ? 1 : 0
  name   = "granted-secrets"
  role   = aws_iam_role.host.id
  policy = module.permissions.policy

  lifecycle {
    precondition {
      condition     = length(module.permissions.problems) == 0
      error_message = join("\n", module.permissions.problems)
    }
    precondition {
      condition     = try(length(module.permissions.policy), 0) <= 10240 - 512 # a role's inline policies together
      error_message = "the grants make a policy of ${try(length(module.permissions.policy), 0)} characters, and IAM takes 10240 for a role: name secrets by ** below common paths, or split the grants over several groups of hosts."
    }
  }
}

resource "aws_iam_role_policy" "session" {
  count = var.session_manager ? 1 : 0
  name  = "session-manager"
  role  = aws_iam_role.host.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Sid    = "Session"
    Effect = "Allow"
    Action = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
    ]
    Resource = "*" # these have no resources of their own
  }] })
}

resource "aws_iam_instance_profile" "host" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.host.name
  tags        = var.tags
}
