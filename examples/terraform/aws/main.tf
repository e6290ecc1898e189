# One list of grants; Vault's roles and policies, the hosts' role in AWS and the
# hosts' own configuration are made from it.

locals {
  grants = {
    timeline = {
      workloads = { "compose.project" = "shop", "compose.service" = "timeline" }
      secrets   = ["vault:kv/shop/timeline/**", "aws:prod/timeline/db#password"]
    }
    mailer = {
      workloads  = { "compose.project" = "shop", "compose.service" = "mailer" }
      secrets    = ["aws:ssm/prod/mailer/%2A"]
      boot_cache = true
    }
  }
}

provider "aws" {
  region = var.region
}

provider "vault" {
  address = var.vault_address
}

module "vault" {
  source  = "../../../terraform/vault"
  address = var.vault_address
  ca_pem  = var.vault_ca_pem
  role    = "docker-host"
  mounts  = { kv_v2 = ["kv"] }
  grants  = local.grants
  aws = {
    bound_iam_principal_arns = [module.hosts.role_arn]
    server_id                = "vault.internal"
    sts_region               = var.region
    sts_endpoint             = "https://sts.${var.region}.amazonaws.com"
  }
}

module "hosts" {
  source             = "../../../terraform/aws"
  name               = "shop"
  ami_id             = var.ami_id
  subnet_ids         = var.subnet_ids
  security_group_ids = [aws_security_group.hosts.id]
  size               = { min = 2, max = 4 }
  tags               = { environment = "production" }
  vault              = module.vault.vault
  grants             = local.grants
  settings           = { boot_cache = { key = "aws-kms", key_id = aws_kms_key.boot.arn } }
  files              = [{ path = "/srv/shop/compose.yaml", content = file("${path.module}/compose.yaml") }]
  commands           = ["docker compose --project-directory /srv/shop up --detach"]
}

# Nothing comes in; out only to what is asked: Vault, AWS's APIs, registries.
resource "aws_security_group" "hosts" {
  name_prefix = "shop-hosts-"
  description = "Docker hosts of the shop"
  vpc_id      = var.vpc_id
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "hosts" {
  for_each          = { https = 443, vault = 8200 }
  security_group_id = aws_security_group.hosts.id
  description       = each.key
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
}

# What a host may start with while no store answers is sealed by this key.
resource "aws_kms_key" "boot" {
  description         = "Boot cache of the shop's Docker hosts"
  enable_key_rotation = true
}
