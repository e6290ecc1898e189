# Who has which rules.
#
# Without a login of its own, a grant's policy belongs to the hosts' token. With
# vault.role, it belongs to that role, and the hosts' token has nothing of it:
# the agent logs in as the role and makes a child of that for each container.
# With vault.policies alone, the agent makes a child of the hosts' own token,
# and Vault gives a child no policy that its parent has not: the hosts have it too.

locals {
  of_vault = { for name, grant in var.grants : name => {
    role     = try(coalesce(grant.vault.role), var.role)
    own      = grant.vault != null
    policies = try(length(grant.vault.policies), 0) > 0 ? grant.vault.policies : ["${var.role}-${name}"]
    listed   = try(length(grant.vault.policies), 0) > 0
    rules    = [for rule in local.rules : rule if rule.grant == name]
  } if anytrue([for r in local.refs : r.grant == name]) }

  # By role: the policies that its token has.
  roles = { for role in distinct(concat([var.role], [for grant in local.of_vault : grant.role])) : role => {
    grants   = [for name, grant in local.of_vault : name if grant.role == role]
    own      = "${var.role}-agent${role == var.role ? "" : "-${role}"}"
    children = role != var.role || anytrue([for grant in local.of_vault : grant.role == role && grant.own])
    leased   = anytrue(flatten([for grant in local.of_vault : grant.rules[*].leased if grant.role == role]))
  } if !contains(var.existing_roles, role) }

  # What the agent needs itself, beside Vault's policy default.
  of_agent = { for role, about in local.roles : about.own => join("\n", concat(
    ["# What the agent needs itself. Made by Terraform."],
    about.leased ? ["# ends logins and certificates with their container", local.rule["sys/leases/revoke"]] : [],
    about.children ? ["# a token for each container of a grant that has a login of its own", local.rule["auth/token/create"]] : [],
  )) if about.leased || about.children }

  rule = { for path in ["sys/leases/revoke", "auth/token/create"] : path => "path \"${path}\" {\n  capabilities = [\"update\"]\n}\n" }

  # By policy: the grants whose rules it has.
  grants_of = { for policy in distinct(flatten([for grant in local.of_vault : grant.policies if !contains(var.existing_roles, grant.role)])) :
  policy => [for name, grant in local.of_vault : name if contains(grant.policies, policy)] if !contains(var.existing_policies, policy) }

  of_grants = { for policy, grants in local.grants_of : policy => join("\n", concat(
    ["# ${join(", ", [for name in grants : "Grant ${name}"])}. Made by Terraform."],
    flatten([for path in distinct(flatten([for name in grants : local.of_vault[name].rules[*].paths])) : concat(
      distinct([for rule in flatten([for name in grants : local.of_vault[name].rules]) : "# ${rule.text}" if contains(rule.paths, path)]),
      ["path \"${path}\" {\n  capabilities = ${jsonencode(distinct(flatten([for rule in flatten([for name in grants : local.of_vault[name].rules]) : rule.capabilities if contains(rule.paths, path)])))}\n}\n"],
    )]),
    # A container's own token ends what was leased for it.
    anytrue(flatten([for name in grants : [local.of_vault[name].own && anytrue(local.of_vault[name].rules[*].leased)]])) ? [local.rule["sys/leases/revoke"]] : [],
  )) }

  policies_of_roles = { for role, about in local.roles : role => distinct(concat(
    contains(keys(local.of_agent), about.own) ? [about.own] : [],
    flatten([for name in about.grants : local.of_vault[name].policies]),
  )) }

  policy_name = "^[a-z0-9][a-z0-9_.-]*$"

  problems_of_logins = flatten([for name, grant in local.of_vault : [
    can(regex(local.policy_name, name)) || grant.listed ? [] : ["grant ${name}: its policy is called ${var.role}-${name}, and Vault keeps names of policies in lower case: use lower-case letters, digits, dashes, dots and underscores"],
    [for policy in grant.policies : "grant ${name}: policy \"${policy}\": use lower-case letters, digits, dashes, dots and underscores"
    if grant.listed && !can(regex(local.policy_name, policy))],
    [for policy in grant.policies : "grant ${name}: policy \"${policy}\" is Vault's own: choose another name" if contains(["default", "root"], policy)],
    can(regex(local.policy_name, grant.role)) || contains(var.existing_roles, grant.role) ? [] : [
    "grant ${name}: role \"${grant.role}\": it is made here, and a policy is called by it: use lower-case letters, digits, dashes, dots and underscores"],
    [for policy in grant.policies : "grant ${name}: policy \"${policy}\" is one of the agent's own: choose another name" if contains(keys(local.of_agent), policy)],
    [for other, its in local.of_vault : "grant ${name}: policy \"${var.role}-${name}\" is what grant ${other} calls its own: choose another name there"
    if !grant.listed && its.listed && contains(its.policies, "${var.role}-${name}")],
  ]])
}

resource "vault_policy" "this" {
  for_each = merge(local.of_agent, local.of_grants)
  name     = each.key
  policy   = each.value
}
