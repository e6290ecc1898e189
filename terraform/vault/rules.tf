# From refs to the rules of Vault's policies, as providers/vault uses the paths.
#
# A policy knows two wildcards: + for one whole segment, and * at its very end
# for anything. So * and ** of a grant are + and * where they stand so, and what
# stands otherwise is refused: there is no rule for it that is not broader.

module "grants" {
  source = "../host/grants"
  grants = var.grants
}

locals {
  kinds = merge(concat([for kind, mounts in var.mounts : { for mount in mounts : mount => kind }], [{ identity = "identity" }])...)

  # Only Vault's patterns count here; of the cloud's own stores the clouds' modules make permissions.
  located = [for r in lookup(module.grants.refs, var.provider_name, []) : merge(r, {
    mount   = try([for mount in keys(local.kinds) : mount if startswith(r.path, "${mount}/")][0], null)
    literal = split("*", r.path)[0]
    write   = contains(split("&", r.params), "method=write")
    method  = anytrue([for pair in split("&", r.params) : startswith(pair, "method=") && !contains(["method=read", "method=write"], pair)])
  })]

  # What stands below the mount; how it is used is decided by its first segment,
  # or where one of several authorities is named, by its third.
  refs = [for r in local.located : merge(r, {
    kind     = r.mount == null ? "" : local.kinds[r.mount]
    segments = r.mount == null ? [] : split("/", substr(r.path, length(r.mount) + 1, -1))
    use = try(
      local.kinds[r.mount] == "pki" && startswith(r.path, "${r.mount}/issuer/") && length(split("/", r.path)) == length(split("/", r.mount)) + 4
      ? split("/", r.path)[length(split("/", r.mount)) + 2]
      : split("/", r.path)[length(split("/", r.mount))],
    "")
  })]

  written = ["pki issue", "pki sign", "transit decrypt", "ssh sign", "ssh issue", "ssh creds", "kubernetes creds"]

  rules = [for r in local.refs : {
    grant        = r.grant
    text         = r.text
    leased       = !startswith(r.kind, "kv_")
    capabilities = contains(local.written, "${r.kind} ${r.use}") || r.write ? ["update"] : ["read"]
    paths = [for prefix in concat([r.kind == "kv_v2" ? "${r.mount}/data" : r.mount], r.kind == "kv_v2" && var.check_versions ? ["${r.mount}/metadata"] : []) :
      join("/", concat([prefix], [for i, segment in r.segments :
        i == length(r.segments) - 1 && endswith(segment, "**") ? replace(segment, "**", "*") : (segment == "*" ? "+" : segment)
    ]))]
  } if r.mount != null]

  problems_of_refs = [for r in local.refs : "grant ${r.grant}: pattern \"${r.text}\": ${local.first_problem[r.text]}" if local.first_problem[r.text] != null]

  first_problem = { for text, problems in { for r in local.refs : r.text => flatten([
    contains(["auth", "sys", "cubbyhole"], split("/", r.path)[0]) ? ["below ${split("/", r.path)[0]}/ Vault keeps its own workings, not secrets"] : [],
    contains(keys(local.kinds), r.path) ? ["names a mount, not a secret below it"] : [],
    r.mount == null && strcontains(r.path, "*") && (!strcontains(r.literal, "/") || anytrue([for mount in keys(local.kinds) : startswith("${mount}/", r.literal)]))
    ? ["a wildcard stands where the secrets engine is named: write one pattern for each mount"] : [],
    r.mount == null ? ["which kind of secrets engine is mounted there decides the rule: name its mount in mounts (kv_v2 = [\"${split("/", r.path)[0]}\"], for one)"] : [],
    r.kind == "identity" && !startswith(r.path, "identity/oidc/token/") ? ["of the identity engine only oidc/token/<role> can be read"] : [],
    [for segment in slice(r.segments, 0, max(0, length(r.segments) - 1)) :
    "a policy of Vault has ** only at the very end of a path: write one pattern for each depth, as in */*, or end the pattern with **" if strcontains(segment, "**")],
    [for i, segment in r.segments : "a policy of Vault cannot say \"${segment}\": a wildcard is a whole segment (*), or ** at the very end (${replace(segment, "/[*].*$/", "**")}: whatever begins so, at any depth); or write the names one by one"
    if segment != "*" && strcontains(i == length(r.segments) - 1 ? trimsuffix(segment, "**") : segment, "*")],
    contains(["pki", "ssh", "transit", "kubernetes"], r.kind) && strcontains(try(r.segments[0], ""), "*")
    ? ["what is read and what is written to takes other rules: write one pattern for each use, as in ${r.mount}/${lookup({ pki = "issue/*, and sign/*", ssh = "sign/*", transit = "decrypt/*", kubernetes = "creds/*" }, r.kind, "")}"] : [],
    r.kind == "pki" && try(r.segments[0], "") == "issuer" && (strcontains(r.path, "**") || strcontains(r.use, "*"))
    ? ["what is read and what is written to takes other rules: write ${r.mount}/issuer/<name>/issue/<role>"] : [],
    r.method ? ["method is method=read or method=write: they take other rules"] : [],
    strcontains(r.path, "%2A") ? ["a policy of Vault cannot name an asterisk"] : [],
    [for segment in split("/", r.path) : "a policy of Vault takes a + at the beginning of a segment for a wildcard" if startswith(segment, "+")],
    can(regex("[\"\\\\]|[$%]\\{|\\{\\{|\\}\\}", r.path)) ? ["a policy of Vault cannot name a path with quotes, backslashes, $${ or {{"] : [],
  ])... } : text => try(problems[0][0], null) }
}
