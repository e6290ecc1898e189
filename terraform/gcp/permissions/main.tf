# What Google Cloud must allow for what the grants name: a role for each secret,
# with a condition where the grant names versions. Secrets that a wildcard names
# have no resource in common but their project; a condition on their names says
# which. What no condition can say is a problem, and never becomes more.

locals {
  # A provider that impersonates reads as that account: what it needs is not the
  # host's, but for becoming it.
  ours = { for name, store in merge({ gcp = {} }, { for name, store in var.stores : name => store }) : name => {
    versions = try(store.check_versions, false)
    as       = try(store.impersonate, null)
  } if try(store.type, name) == "gcp" }

  refs = [for p in flatten([for name, refs in var.refs : [for ref in refs : merge(ref, {
    parts    = split("/", ref.path)
    versions = local.ours[name].versions
    }) if local.ours[name].as == null] if contains(keys(local.ours), name)]) : merge(p, {
    project  = p.parts[0]
    location = length(p.parts) == 3 ? p.parts[1] : ""
    secret   = length(p.parts) == 3 ? p.parts[2] : try(p.parts[1], "")
    pin      = can(regex("^[0-9]+$", p.version)) ? p.version : ""
  })]

  wild = { for ref in local.refs : ref.text => strcontains(ref.path, "*") }

  problem = { for ref in local.refs : ref.text => (
    strcontains(ref.project, "*") ? "name one project, as in gcp:my-project/db-password"
    : ref.secret == "" ? "name the secret after its project, as in gcp:my-project/db-password"
    : length(ref.parts) > 3 ? "a secret is written as gcp:my-project/db-password, a regional one as gcp:my-project/europe-west3/db-password"
    : !can(regex("^([A-Za-z0-9_-]{0,255}[*]?|[*][*])$", ref.secret)) || strcontains(ref.location, "*") ? "a condition knows how a name begins, and no more: put the star at its end, as in gcp:${ref.project}/shop-*, or name each secret"
    : strcontains(ref.version, "*") ? "a condition names versions one by one: write their numbers, or none for all"
    : local.wild[ref.text] && !contains(keys(var.whole_projects), ref.project) ? "a wildcard needs a role in the project itself: add ${ref.project} and its number to whole_projects, or name each secret"
    : null
  ) }

  problems = [for ref in local.refs : "grant ${ref.grant}: pattern \"${ref.text}\": ${local.problem[ref.text]}" if local.problem[ref.text] != null]

  # With a problem there is nothing: half of what is granted helps nobody.
  exact = [for ref in local.refs : ref if length(local.problems) == 0 && !local.wild[ref.text]]
  broad = [for ref in local.refs : ref if length(local.problems) == 0 && local.wild[ref.text]]
}

# Secrets that are named. One that is granted without a version, or by an alias,
# is granted in all versions.
locals {
  named = { for ref in local.exact : join("/", compact([ref.project, ref.location, ref.secret])) => ref... }

  secrets = { for name, refs in local.named : name => {
    project  = refs[0].project
    location = refs[0].location
    secret   = refs[0].secret
    versions = anytrue(refs[*].versions)
    condition = contains(refs[*].pin, "") ? null : join(" || ", [
      for pin in sort(distinct(refs[*].pin)) : "resource.name.endsWith(\"/versions/${pin}\")"
    ])
  } }
}

# Secrets of a project whose names begin alike: of one region, or global, or, with
# two stars, both.
locals {
  alike = { for ref in local.broad : "${ref.path}${ref.pin == "" ? "" : "@${ref.pin}"}" => ref... }

  beginnings = { for name, refs in local.alike : name => {
    project  = refs[0].project
    versions = anytrue(refs[*].versions)
    begins = format("projects/%s/%s%s", var.whole_projects[refs[0].project],
      refs[0].location == "" ? "" : "locations/${refs[0].location}/",
    refs[0].secret == "**" && refs[0].location == "" ? "" : "secrets/${replace(refs[0].secret, "*", "")}")
    pin = refs[0].pin
  } }

  projects = { for name, b in local.beginnings : name => {
    project  = b.project
    versions = b.versions
    condition = join(" && ", concat(["resource.name.startsWith(\"${b.begins}\")"],
    b.pin == "" ? [] : ["resource.name.endsWith(\"/versions/${b.pin}\")"]))
  } }
}
