# The bindings are compared whole: what is not expected must not be there.

variables {
  refs = {}
}

run "nothing" {
  command = plan
  assert {
    condition     = length(output.secrets) == 0 && length(output.projects) == 0 && length(output.problems) == 0
    error_message = jsonencode(output.secrets)
  }
}

run "each_secret_by_itself" {
  command = plan
  variables {
    refs = {
      gcp = [
        { grant = "a", text = "gcp:shop-prod/db#user", path = "shop-prod/db", version = "" },
        { grant = "a", text = "gcp:shop-prod/db@3", path = "shop-prod/db", version = "3" },
        { grant = "b", text = "gcp:shop-prod/key@7", path = "shop-prod/key", version = "7" },
        { grant = "b", text = "gcp:shop-prod/key@8", path = "shop-prod/key", version = "8" },
        { grant = "b", text = "gcp:shop-prod/alias@live", path = "shop-prod/alias", version = "live" },
        { grant = "b", text = "gcp:shop-prod/europe-west3/near", path = "shop-prod/europe-west3/near", version = "" },
      ]
      watched = [{ grant = "a", text = "watched:shop-prod/fresh", path = "shop-prod/fresh", version = "" }]
      other   = [{ grant = "a", text = "other:elsewhere/a", path = "elsewhere/a", version = "" }]
      vault   = [{ grant = "a", text = "vault:kv/a", path = "kv/a", version = "" }]
    }
    stores = {
      watched = { type = "gcp", check_versions = true }
      other   = { type = "gcp", impersonate = "reader@elsewhere.iam.gserviceaccount.com" }
    }
  }
  assert {
    condition = jsonencode(output.secrets) == jsonencode({
      "shop-prod/db"                = { project = "shop-prod", location = "", secret = "db", versions = false, condition = null }
      "shop-prod/key"               = { project = "shop-prod", location = "", secret = "key", versions = false, condition = "resource.name.endsWith(\"/versions/7\") || resource.name.endsWith(\"/versions/8\")" }
      "shop-prod/alias"             = { project = "shop-prod", location = "", secret = "alias", versions = false, condition = null }
      "shop-prod/europe-west3/near" = { project = "shop-prod", location = "europe-west3", secret = "near", versions = false, condition = null }
      "shop-prod/fresh"             = { project = "shop-prod", location = "", secret = "fresh", versions = true, condition = null }
    })
    error_message = jsonencode(output.secrets)
  }
  assert {
    condition     = length(output.projects) == 0 && output.impersonated == toset(["reader@elsewhere.iam.gserviceaccount.com"])
    error_message = jsonencode(output.projects)
  }
}

run "names_that_begin_alike" {
  command = plan
  variables {
    whole_projects = { shop-prod = "123456789012" }
    refs = { gcp = [
      { grant = "a", text = "gcp:shop-prod/timeline-*", path = "shop-prod/timeline-*", version = "" },
      { grant = "a", text = "gcp:shop-prod/*@1", path = "shop-prod/*", version = "1" },
      { grant = "a", text = "gcp:shop-prod/europe-west3/**", path = "shop-prod/europe-west3/**", version = "" },
      { grant = "a", text = "gcp:shop-prod/**", path = "shop-prod/**", version = "" },
    ] }
  }
  assert {
    condition = { for name, p in output.projects : name => p.condition } == {
      "shop-prod/timeline-*"      = "resource.name.startsWith(\"projects/123456789012/secrets/timeline-\")"
      "shop-prod/*@1"             = "resource.name.startsWith(\"projects/123456789012/secrets/\") && resource.name.endsWith(\"/versions/1\")"
      "shop-prod/europe-west3/**" = "resource.name.startsWith(\"projects/123456789012/locations/europe-west3/secrets/\")"
      "shop-prod/**"              = "resource.name.startsWith(\"projects/123456789012/\")"
    }
    error_message = jsonencode(output.projects)
  }
}

run "what_a_condition_cannot_say" {
  command = plan
  variables {
    whole_projects = { shop-prod = "123456789012" }
    refs = { gcp = [
      { grant = "a", text = "gcp:shop-prod/*-db", path = "shop-prod/*-db", version = "" },
      { grant = "b", text = "gcp:*/db", path = "*/db", version = "" },
      { grant = "c", text = "gcp:shop-prod", path = "shop-prod", version = "" },
      { grant = "d", text = "gcp:other/timeline-*", path = "other/timeline-*", version = "" },
      { grant = "e", text = "gcp:shop-prod/*/db", path = "shop-prod/*/db", version = "" },
      { grant = "f", text = "gcp:shop-prod/db@1*", path = "shop-prod/db", version = "1*" },
    ] }
  }
  assert {
    condition = length(output.secrets) + length(output.projects) == 0 && output.problems == [
      "grant a: pattern \"gcp:shop-prod/*-db\": a condition knows how a name begins, and no more: put the star at its end, as in gcp:shop-prod/shop-*, or name each secret",
      "grant b: pattern \"gcp:*/db\": name one project, as in gcp:my-project/db-password",
      "grant c: pattern \"gcp:shop-prod\": name the secret after its project, as in gcp:my-project/db-password",
      "grant d: pattern \"gcp:other/timeline-*\": a wildcard needs a role in the project itself: add other and its number to whole_projects, or name each secret",
      "grant e: pattern \"gcp:shop-prod/*/db\": a condition knows how a name begins, and no more: put the star at its end, as in gcp:shop-prod/shop-*, or name each secret",
      "grant f: pattern \"gcp:shop-prod/db@1*\": a condition names versions one by one: write their numbers, or none for all",
    ]
    error_message = join("\n", output.problems)
  }
}

run "a_project_without_its_number" {
  command = plan
  variables {
    whole_projects = { shop-prod = "shop-prod" }
  }
  expect_failures = [var.whole_projects]
}
