output "problems" {
  description = "What is wrong with the grants, one sentence each; empty: nothing."
  value       = concat(local.problems_of_grants, local.problems_of_patterns)
}

output "refs" {
  description = "The parts of all patterns with which nothing is wrong, by provider. A literal asterisk in a part is written %2A, and * and ** are wildcards; params is as in the pattern."
  value = { for provider in distinct(local.refs[*].provider) : provider => [
    for r in local.refs : { grant = r.grant, text = r.text, path = r.path, field = r.field, version = r.version, params = r.params }
    if r.provider == provider
  ] }
}
