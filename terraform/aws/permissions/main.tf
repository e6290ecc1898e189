# What IAM must allow so that the agent can read what its grants name, and
# nothing else. There is no resource here and no provider is needed, so what is
# written is what the tests see.
#
# A grant's * stops at a slash and IAM's does not, so a pattern with a single *
# cannot be said to IAM: it is a problem, and never something wider.

locals {
  names = [for name in keys(var.refs) : name if try(var.stores[name].type, name) == "aws"]

  stores = { for name in local.names : name => {
    role     = try(coalesce(var.stores[name].assume_role), "") # "": read as the host itself
    account  = try(split(":", var.stores[name].assume_role)[4], var.account_id)
    region   = try(coalesce(var.stores[name].region), var.region)
    replicas = try([for region in var.stores[name].replicas : tostring(region)], [])
    versions = try(tobool(var.stores[name].check_versions), false)
  } }

  arn_of_secret    = "^(arn:aws[a-z-]*:secretsmanager):([a-z0-9-]+):([0-9]{12}):secret:([A-Za-z0-9/_+=.@!*-]+)$"
  arn_of_parameter = "^(arn:aws[a-z-]*:ssm):([a-z0-9-]+):([0-9]{12}):parameter/([A-Za-z0-9/_.*-]+)$"

  # One for each pattern. ssm/… is the Parameter Store; a parameter called *, or
  # one below a path, stands for all parameters there.
  patterns = [for p in flatten([for name in local.names : [for ref in var.refs[name] : {
    store     = local.stores[name]
    ref       = ref
    literal   = split("*", ref.path)[0]
    parameter = startswith(ref.path, "ssm/")
    id        = trimprefix(ref.path, "ssm/")
    params    = compact(split("&", ref.params))
    }]]) : merge(p, {
    by_arn    = startswith(p.id, "arn:")
    hierarchy = p.parameter && (p.id == "%2A" || endswith(p.id, "/%2A")) # exactly that ref
    names     = [for param in p.params : trimprefix(param, "name=") if startswith(param, "name=")]
    recursive = length([for param in p.params : param if can(regex("^recursive=(true|\\*+)$", param))]) > 0
  })]
}

locals {
  single = "(^|[^*])\\*([^*]|$)" # one asterisk, not two

  problems = distinct([for p in local.patterns : "grant ${p.ref.grant}: pattern \"${p.ref.text}\": ${local.first_problem[p.ref.text]}" if local.first_problem[p.ref.text] != null])

  first_problem = { for text, found in { for p in local.patterns : p.ref.text => flatten([
    [for part in concat([p.id], p.names) : p.parameter
      ? "IAM's * crosses slashes, so * cannot be granted without granting more: write %2A for all parameters directly below a path, ** for whatever is below it, or name each one"
      : "IAM's * crosses slashes, so * cannot be granted without granting more: write ** where everything below is meant, or name each secret"
    if can(regex(local.single, part))],
    strcontains(p.ref.path, "*") && (startswith("ssm/", p.literal) || startswith("arn:", p.literal)) && p.literal != "ssm/"
    ? ["names of both stores begin so: write at least the first letters of a name, or ssm/"] : [],
    p.by_arn && !can(regex(p.parameter ? local.arn_of_parameter : local.arn_of_secret, p.id))
    ? ["an ARN is written whole, with wildcards in its name only, as in arn:aws:secretsmanager:eu-west-1:123456789012:secret:name or ssm/arn:aws:ssm:eu-west-1:123456789012:parameter/name"] : [],
    p.by_arn && length(p.params) > 0 ? ["an ARN takes no parameters"] : [],
    [for param in p.params : "AWS's stores take no parameter ${param}"
    if !startswith(param, "name=") && !(p.parameter && startswith(param, "recursive="))],
    [for part in concat(p.hierarchy || p.by_arn ? [] : [p.id], p.names) : "\"${part}\" has characters that no name has in AWS"
    if !can(regex(p.parameter ? "^[A-Za-z0-9/_.*-]+$" : "^[A-Za-z0-9/_+=.@!*-]+$", part))],
    p.hierarchy && !can(regex("^([A-Za-z0-9/_.-]+/)?%2A$", p.id)) ? ["a path below which all parameters are meant has no wildcard"] : [],
    # null ends the list, so that there is always a first.
    [null],
  ]) } : text => found[0] }

  good = [for p in local.patterns : p if local.first_problem[p.ref.text] == null]
}

# What is read, as whom (a role's ARN; "": the host), by the ARNs that IAM compares.
locals {
  # Secrets Manager ends an ARN with a dash and six characters of its own
  # choice: -?????? is this secret, and never one whose name only begins so. An
  # ARN in a ref may be whole or lack them.
  secrets = flatten([for p in local.good : [
    for region in(p.by_arn && regex(local.arn_of_secret, p.by_arn ? p.id : local.no_secret)[1] != p.store.region
      ? [regex(local.arn_of_secret, p.id)[1]]
      : concat([p.store.region], p.store.replicas)) : [
      for name in p.by_arn ? [regex(local.arn_of_secret, p.id)[3]] : concat([p.id], p.names) : [
        for end in p.by_arn && can(regex("-[A-Za-z0-9]{6}$", name)) ? ["", "-??????"] : ["-??????"] : {
          who    = p.store.role
          arn    = "${p.by_arn ? regex(local.arn_of_secret, p.id)[0] : "arn:${var.partition}:secretsmanager"}:${region}:${p.by_arn ? regex(local.arn_of_secret, p.id)[2] : p.store.account}:secret:${replace(name, "/\\*+/", "*")}${end}"
          region = region, versions = p.store.versions
        }
      ]
    ]
  ] if !p.parameter])

  no_secret = "arn:aws:secretsmanager:none:000000000000:secret:none" # for a branch that is not taken

  parameters = flatten([for p in local.good : [
    for name in p.by_arn ? [] : concat([p.id], p.names) : {
      who = p.store.role, region = p.store.region, list = false, recursive = false
      arn = "arn:${var.partition}:ssm:${p.store.region}:${p.store.account}:parameter/${replace(trimprefix(name, "/"), "/\\*+/", "*")}"
    }
  ] if p.parameter && !p.hierarchy])

  parameters_by_arn = [for p in local.good : {
    who = p.store.role, region = regex(local.arn_of_parameter, p.id)[1]
    arn = replace(p.id, "/\\*+/", "*")
  } if p.parameter && p.by_arn]

  # GetParametersByPath is allowed by the path's own ARN. ** allows every path
  # that it can begin with a slash behind it, too.
  paths = flatten([for p in local.good : [
    for path in p.hierarchy ? [trimsuffix(trimsuffix(p.id, "%2A"), "/")] : distinct([replace(p.id, "/\\*+/", "*"), replace(p.id, "/(^|/)\\*+$/", "")]) : {
      who = p.store.role, region = p.store.region, recursive = p.recursive
      arn = "arn:${var.partition}:ssm:${p.store.region}:${p.store.account}:parameter/${path}"
    }
  ] if p.parameter && !p.by_arn && (p.hierarchy || endswith(p.id, "**"))])
}

locals {
  roles = distinct([for name in local.names : local.stores[name].role if local.stores[name].role != "" && length(var.refs[name]) > 0])
  who   = concat([""], local.roles)

  accounts = [for role in local.roles : split(":", role)[4]]
  keys = { for who in local.who : who => [for arn in var.kms_key_arns : arn
  if who == "" ? !contains(local.accounts, split(":", arn)[4]) : split(":", who)[4] == split(":", arn)[4]] }

  sought = { for who in local.who : who => {
    secrets    = sort(distinct([for s in local.secrets : s.arn if s.who == who]))
    versions   = sort(distinct([for s in local.secrets : s.arn if s.who == who && s.versions]))
    parameters = sort(distinct(concat([for p in local.parameters : p.arn if p.who == who], [for p in local.parameters_by_arn : p.arn if p.who == who])))
    paths      = sort(distinct([for p in local.paths : p.arn if p.who == who && !p.recursive]))
    trees      = sort(distinct([for p in local.paths : p.arn if p.who == who && p.recursive]))
    via = sort(distinct(concat(
      [for s in local.secrets : "secretsmanager.${s.region}.${var.dns_suffix}" if s.who == who],
      [for p in concat(local.parameters_by_arn, [for p in local.parameters : { who = p.who, region = p.region, arn = p.arn }], [for p in local.paths : { who = p.who, region = p.region, arn = p.arn }]) : "ssm.${p.region}.${var.dns_suffix}" if p.who == who],
    )))
  } }

  # Of several statements only those that allow something.
  statements = { for who, s in local.sought : who => [for statement in [
    { Sid = "ReadSecrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = s.secrets, Condition = null },
    # It has no resources of its own: each secret takes GetSecretValue as well.
    { Sid = "ReadSecretsTogether", Effect = "Allow", Action = ["secretsmanager:BatchGetSecretValue"], Condition = null,
    Resource = length(s.secrets) > 1 || length([for arn in s.secrets : arn if strcontains(arn, "*")]) > 0 ? ["*"] : [] },
    { Sid = "SeeVersions", Effect = "Allow", Action = ["secretsmanager:DescribeSecret"], Resource = s.versions, Condition = null },
    { Sid = "ReadParameters", Effect = "Allow", Action = ["ssm:GetParameter", "ssm:GetParameters"], Resource = s.parameters, Condition = null },
    { Sid = "ReadPaths", Effect = "Allow", Action = ["ssm:GetParametersByPath"], Resource = s.paths,
    Condition = { StringEquals = { "ssm:Recursive" = ["false"] } } },
    { Sid = "ReadTrees", Effect = "Allow", Action = ["ssm:GetParametersByPath"], Resource = s.trees, Condition = null },
    { Sid = "DecryptInStores", Effect = "Allow", Action = ["kms:Decrypt"], Resource = length(s.via) > 0 ? local.keys[who] : [],
    Condition = { StringEquals = { "kms:ViaService" = s.via } } },
    { Sid = "SealBootCache", Effect = "Allow", Action = ["kms:Encrypt", "kms:Decrypt"], Condition = null,
    Resource = who == "" ? compact([var.boot_cache_key_arn]) : [] },
    { Sid = "AssumeRoles", Effect = "Allow", Action = ["sts:AssumeRole"], Resource = who == "" ? sort(local.roles) : [], Condition = null },
  ] : { for key, value in statement : key => value if value != null } if length(statement.Resource) > 0] }

  policies = { for who, statements in local.statements : who => length(statements) == 0 ? null : jsonencode({ Version = "2012-10-17", Statement = statements }) }
}
