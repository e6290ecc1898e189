# The policies are compared whole: what is not expected must not be there.

variables {
  partition  = "aws"
  region     = "eu-west-1"
  account_id = "123456789012"
  refs       = {}
}

run "nothing" {
  command = plan
  assert {
    condition     = output.policy == null && length(output.assumed) == 0 && length(output.problems) == 0
    error_message = "nothing was granted, but: ${jsonencode(output.policy)}"
  }
}

run "one_secret" {
  command = plan
  variables {
    refs = { aws = [{ grant = "shop", text = "aws:prod/shop/db#password", path = "prod/shop/db", params = "" }], vault = [{ grant = "shop", text = "vault:kv/a", path = "kv/a", params = "" }] }
  }
  assert {
    condition = jsondecode(output.policy) == { Version = "2012-10-17", Statement = [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/shop/db-??????"] },
    ] }
    error_message = output.policy
  }
}

run "secrets_with_replicas_keys_and_versions" {
  command = plan
  variables {
    stores       = { aws = { replicas = ["eu-central-1"], check_versions = true } }
    kms_key_arns = ["arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"]
    refs = { aws = [
      { grant = "shop", text = "aws:prod/shop/**", path = "prod/shop/**", params = "" },
      { grant = "shop", text = "aws:x?name=//x", path = "x", params = "name=//x" },
    ] }
  }
  assert {
    condition = jsondecode(output.policy) == { Version = "2012-10-17", Statement = [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret://x-??????",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/shop/*-??????",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-??????",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret://x-??????",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/shop/*-??????",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-??????",
      ] },
      { Sid = "ReadSecretsTogether", Effect = "Allow", Action = ["secretsmanager:BatchGetSecretValue"], Resource = ["*"] },
      { Sid = "SeeVersions", Effect = "Allow", Action = ["secretsmanager:DescribeSecret"], Resource = [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret://x-??????",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/shop/*-??????",
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-??????",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret://x-??????",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/shop/*-??????",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-??????",
      ] },
      { Sid = "DecryptInStores", Effect = "Allow", Action = ["kms:Decrypt"], Resource = ["arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
      Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.eu-central-1.amazonaws.com", "secretsmanager.eu-west-1.amazonaws.com"] } } },
    ] }
    error_message = output.policy
  }
}

run "parameters_and_the_boot_cache" {
  command = plan
  variables {
    boot_cache_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/boot"
    kms_key_arns       = ["arn:aws:kms:eu-west-1:123456789012:key/store"]
    refs = { aws = [
      { grant = "a", text = "aws:ssm/prod/db", path = "ssm/prod/db", params = "" },
      { grant = "a", text = "aws:ssm/plain?name=/plain", path = "ssm/plain", params = "name=/plain" },
      { grant = "a", text = "aws:ssm/flat/%2A", path = "ssm/flat/%2A", params = "" },
      { grant = "a", text = "aws:ssm/deep/%2A?recursive=true", path = "ssm/deep/%2A", params = "recursive=true" },
      { grant = "a", text = "aws:ssm/all/**", path = "ssm/all/**", params = "" },
    ] }
  }
  assert {
    condition = jsondecode(output.policy) == { Version = "2012-10-17", Statement = [
      { Sid = "ReadParameters", Effect = "Allow", Action = ["ssm:GetParameter", "ssm:GetParameters"], Resource = [
        "arn:aws:ssm:eu-west-1:123456789012:parameter/all/*",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/plain",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/db",
      ] },
      { Sid = "ReadPaths", Effect = "Allow", Action = ["ssm:GetParametersByPath"], Condition = { StringEquals = { "ssm:Recursive" = ["false"] } }, Resource = [
        "arn:aws:ssm:eu-west-1:123456789012:parameter/all",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/all/*",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/flat",
      ] },
      { Sid = "ReadTrees", Effect = "Allow", Action = ["ssm:GetParametersByPath"], Resource = ["arn:aws:ssm:eu-west-1:123456789012:parameter/deep"] },
      { Sid = "DecryptInStores", Effect = "Allow", Action = ["kms:Decrypt"], Resource = ["arn:aws:kms:eu-west-1:123456789012:key/store"],
      Condition = { StringEquals = { "kms:ViaService" = ["ssm.eu-west-1.amazonaws.com"] } } },
      { Sid = "SealBootCache", Effect = "Allow", Action = ["kms:Encrypt", "kms:Decrypt"], Resource = ["arn:aws:kms:eu-west-1:123456789012:key/boot"] },
    ] }
    error_message = output.policy
  }
}

run "arns" {
  command = plan
  variables {
    refs = { aws = [
      { grant = "a", text = "1", path = "arn:aws:secretsmanager:us-east-1:210987654321:secret:shared/db-a1B2c3", params = "" },
      { grant = "a", text = "2", path = "ssm/arn:aws:ssm:us-east-1:210987654321:parameter/shared/**", params = "" },
    ] }
  }
  assert {
    condition = jsondecode(output.policy).Statement == [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = [
        "arn:aws:secretsmanager:us-east-1:210987654321:secret:shared/db-a1B2c3",
        "arn:aws:secretsmanager:us-east-1:210987654321:secret:shared/db-a1B2c3-??????",
      ] },
      { Sid = "ReadSecretsTogether", Effect = "Allow", Action = ["secretsmanager:BatchGetSecretValue"], Resource = ["*"] },
      { Sid = "ReadParameters", Effect = "Allow", Action = ["ssm:GetParameter", "ssm:GetParameters"], Resource = ["arn:aws:ssm:us-east-1:210987654321:parameter/shared/*"] },
    ]
    error_message = output.policy
  }
}

run "as_another_role_only_that_role_reads" {
  command = plan
  variables {
    stores = { payments = { type = "aws", region = "eu-north-1", assume_role = "arn:aws:iam::210987654321:role/reader" }, aws = { region = "eu-west-2" } }
    refs = {
      payments = [{ grant = "a", text = "payments:card", path = "card", params = "" }]
      aws      = [{ grant = "a", text = "aws:own", path = "own", params = "" }]
    }
    kms_key_arns = ["arn:aws:kms:eu-north-1:210987654321:key/theirs"]
  }
  assert {
    condition = jsondecode(output.policy).Statement == [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-west-2:123456789012:secret:own-??????"] },
      { Sid = "AssumeRoles", Effect = "Allow", Action = ["sts:AssumeRole"], Resource = ["arn:aws:iam::210987654321:role/reader"] },
    ]
    error_message = output.policy
  }
  assert {
    condition = { for role, policy in output.assumed : role => jsondecode(policy).Statement } == { "arn:aws:iam::210987654321:role/reader" = [
      { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = ["arn:aws:secretsmanager:eu-north-1:210987654321:secret:card-??????"] },
      { Sid = "DecryptInStores", Effect = "Allow", Action = ["kms:Decrypt"], Resource = ["arn:aws:kms:eu-north-1:210987654321:key/theirs"],
      Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.eu-north-1.amazonaws.com"] } } },
    ] }
    error_message = jsonencode(output.assumed)
  }
}

run "what_iam_cannot_say" {
  command = plan
  variables {
    refs = { aws = [for text in [
      "prod/shop/*", "pr*d/**", "ssm/prod/*", "**", "s**", "a**", "prod/%2A", "a:b",
      "arn:aws:secretsmanager:*:123456789012:secret:x", "ssm/arn:aws:secretsmanager:eu-west-1:123456789012:secret:x",
    ] : { grant = "shop", text = text, path = text, params = "" }] }
  }
  assert {
    condition     = output.policy == null && length(output.problems) == 10
    error_message = "${jsonencode(output.policy)} ${join("\n", output.problems)}"
  }
  assert {
    condition     = startswith(output.problems[0], "grant shop: pattern \"prod/shop/*\": IAM's * crosses slashes") && strcontains(output.problems[2], "write %2A")
    error_message = join("\n", output.problems)
  }
}

run "bad_keys" {
  command = plan
  variables {
    kms_key_arns       = ["alias/shop"]
    boot_cache_key_arn = "alias/boot"
  }
  expect_failures = [var.kms_key_arns, var.boot_cache_key_arn]
}

run "bad_account" {
  command = plan
  variables {
    account_id = "12"
  }
  expect_failures = [var.account_id]
}
