# The grammar of refs, as broker/secret reads it:
#
#   provider:path[?param=value&…][#field][@version]
#
# What is wrong is collected as sentences that name the grant, for the module
# that uses this one to show: all problems at once, and where a test of that
# module can expect them.

locals {
  grammar = "^([^:]*):([^?#@]*)(?:\\?([^?#@]*))?(?:#([^?#@]*))?(?:@([^?#@]*))?$"

  # A part that is not there is null, and one that is there and empty is "".
  patterns = [for p in flatten([for name, grant in var.grants : [for text in coalesce(grant.secrets, []) : {
    grant = name
    text  = text == null ? "" : text
    parts = text == null ? null : try(regex(local.grammar, text), null)
    }]]) : {
    grant      = p.grant
    text       = p.text
    in_order   = p.parts != null
    provider   = try(regex("^([^:]*):", p.text)[0], null)
    path       = try(p.parts[1], "")
    params     = try(p.parts[2], null)
    field      = try(p.parts[3], null)
    version    = try(p.parts[4], null)
    parameters = try(split("&", p.parts[2]), [])
  }]

  refs = [for p in local.patterns : {
    grant    = p.grant
    text     = p.text
    provider = p.provider
    path     = local.decoded[p.path]
    field    = p.field == null ? "" : local.decoded[p.field]
    version  = p.version == null ? "" : local.decoded[p.version]
    params   = p.params == null ? "" : p.params
  } if local.first_problem[p.text] == null]
}

# Percent-decoding, for which Terraform has no function: base64decode makes text
# of bytes, and three hex digits are two characters of base64. Escapes that
# stand together are decoded together, since a letter can be several bytes. %2A
# stays as it is: decoded, it could not be told from a wildcard.
locals {
  pieces = { for part in distinct(compact(flatten([for p in local.patterns : concat([p.path, p.field, p.version], p.parameters)]))) :
    part => regexall("%2[aA]|(?:%[013-9a-fA-F][0-9a-fA-F]|%2[0-9b-fB-F])+|[^%]+|%", part)
  }

  hex = { for piece in distinct(flatten(values(local.pieces))) : piece => replace(piece, "%", "")
  if startswith(piece, "%") && upper(piece) != "%2A" }

  base64 = { for piece, hex in local.hex : piece => join("", concat(slice(flatten([
    for three in regexall("...", "${hex}${substr("0000", 0, (6 - length(hex) % 6) % 6)}") : [for n in [parseint(three, 16)] : [
      substr(local.alphabet, floor(n / 64), 1), substr(local.alphabet, n % 64, 1),
    ]]
  ]), 0, ceil(length(hex) * 4 / 6)), [substr("==", 0, ((6 - length(hex) % 6) % 6) / 2)])) }

  alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

  # null: not UTF-8, or a percent sign without two hex digits.
  escapes = merge({ "%2A" = "%2A", "%2a" = "%2A" }, { for piece, base64 in local.base64 : piece => piece == "%" ? null : try(base64decode(base64), null) })

  decoded = merge({ "" = "" }, { for part, pieces in local.pieces : part =>
    try(join("", [for piece in pieces : startswith(piece, "%") ? local.escapes[piece] : piece]), null)
  })
}

locals {
  selectors = ["compose.project", "compose.service", "image.ref", "name", "swarm.node", "swarm.service", "user"]

  problems_of_grants = flatten([for name, grant in var.grants : [
    name == "" ? ["a grant has no name"] : [],
    can(regex("[\\x00-\\x1f\\x7f]", name)) ? ["grant ${jsonencode(name)}: its name has a control character"] : [],
    length(coalesce(grant.workloads, {})) > 0 ? [] : [
      "grant ${name}: workloads has no selector, so it would match every container: name one, as in {\"compose.project\" = \"shop\"}"
    ],
    length(coalesce(grant.secrets, [])) > 0 ? [] : [
      "grant ${name}: secrets has no pattern, so it would give nothing: name a secret, as in [\"vault:kv/shop/db\"]"
    ],
    [for key, value in coalesce(grant.workloads, {}) : "grant ${name}: unknown selector ${key}: the selectors are ${join(", ", local.selectors)}, label.<key> and image.label.<key>"
    if !contains(local.selectors, key) && !can(regex("^(image\\.)?label\\..", key))],
    [for key, value in coalesce(grant.workloads, {}) : "grant ${name}: the selector ${key} has no value" if value == null],
    length(coalesce(grant.workloads, {})) > 0 && alltrue([for key in keys(coalesce(grant.workloads, {})) : can(regex("^image\\.label\\..", key))]) ? [
      "grant ${name}: only image.label selectors: what an image says of itself is never enough to get a secret; add one that the image does not choose, as in {\"image.ref\" = \"shop/*\"}"
    ] : [],
    grant.vault == null || try(coalesce(grant.vault.role), null) != null || length(try(coalesce(grant.vault.policies, []), [])) > 0 ? [] : [
      "grant ${name}: vault says nothing: give a role, a list of policies, or both"
    ],
  ]])

  # Of each pattern the first thing that is wrong: what follows from it says nothing new.
  problems_of_patterns = [for p in local.patterns : "grant ${p.grant}: pattern \"${p.text}\": ${local.first_problem[p.text]}" if local.first_problem[p.text] != null]

  first_problem = { for text, problems in { for p in local.patterns : p.text => flatten([
    p.provider == null ? ["a ref starts with its provider and a colon, as in vault:kv/shop/db#password"] : [],
    can(regex("^[a-z][a-z0-9-]*$", p.provider)) ? [] : ["provider \"${p.provider == null ? "" : p.provider}\": use lower-case letters, digits and dashes, starting with a letter"],
    p.in_order ? [] : ["the order is path?params#field@version, and a literal ?, # or @ is written %3F, %23 or %40"],
    p.path == "" ? ["the path is empty"] : [],
    [for mark, part in { "?" = p.params, "#" = p.field, "@" = p.version } : "nothing follows ${mark}" if part == ""],
    [for part in local.parts[p.text] : "\"${part}\": a percent sign is followed by two hex digits, of text in UTF-8; a literal one is written %25"
    if local.decoded[part] == null],
    [for part in local.parts[p.text] : "\"${part}\": contains a control character"
    if can(regex("[\\x00-\\x1f\\x7f]", local.decoded[part]))],
    [for segment in try(split("/", local.decoded[p.path]), []) : "path \"${p.path}\": starts or ends with a slash, or has an empty segment" if segment == ""],
    [for segment in try(split("/", local.decoded[p.path]), []) : "path \"${p.path}\": \"${segment}\" is not allowed in a path" if contains([".", ".."], segment)],
    [for pair in p.parameters : "parameter \"${pair}\": write name=value" if !can(regex("^[^=]+=", pair))],
    try(contains(var.known, p.provider), true) ? [] : ["there is no provider ${p.provider == null ? "" : p.provider}; there are: ${join(", ", sort(var.known))}"],
  ])... } : text => try(problems[0][0], null) }

  parts = { for p in local.patterns : p.text => distinct(compact(concat([p.path, p.field, p.version], p.parameters))) }
}
