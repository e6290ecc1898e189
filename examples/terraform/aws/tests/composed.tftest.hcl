mock_provider "vault" {}

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
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/shop-1" }
  }
  mock_resource "aws_security_group" {
    defaults = { id = "sg-0a" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/boot" }
  }
}

variables {
  vault_address = "https://vault.internal:8200"
  ami_id        = "ami-0123456789abcdef0"
  vpc_id        = "vpc-0a"
  subnet_ids    = ["subnet-0a", "subnet-0b"]
}

run "host_vault_and_aws_agree" {
  assert {
    condition = jsondecode(output.policy).Statement == [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/timeline/db-??????"] },
      { Sid = "ReadPaths", Effect = "Allow", Action = ["ssm:GetParametersByPath"], Resource = ["arn:aws:ssm:eu-west-1:123456789012:parameter/prod/mailer"],
      Condition = { StringEquals = { "ssm:Recursive" = ["false"] } } },
      { Sid = "SealBootCache", Effect = "Allow", Action = ["kms:Encrypt", "kms:Decrypt"], Resource = ["arn:aws:kms:eu-west-1:123456789012:key/boot"] },
    ]
    error_message = output.policy
  }
  assert {
    condition     = yamldecode(output.configuration).vault == { address = "https://vault.internal:8200", mount = "aws", role = "docker-host", server_id = "vault.internal", sts_endpoint = "https://sts.eu-west-1.amazonaws.com", sts_region = "eu-west-1" }
    error_message = output.configuration
  }
  assert {
    condition     = keys(module.vault.policies) == ["docker-host-timeline"]
    error_message = jsonencode(module.vault.policies)
  }
}
