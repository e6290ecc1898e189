# Who the hosts are, and what they may. A login to Vault as an instance needs no
# role: whoever runs there may ask for its token.

locals {
  member = "serviceAccount:${google_service_account.host.email}"
  seals  = try(var.settings.boot_cache.key, null) == "gcp-kms"
}

resource "google_service_account" "host" {
  project      = var.project
  account_id   = var.name
  display_name = "Docker hosts with Quaymaster: ${var.name}"
}

module "permissions" {
  source         = "./permissions"
  refs           = { for name, refs in module.host.refs : name => [for r in refs : { grant = r.grant, text = r.text, path = r.path, version = r.version }] }
  stores         = try(var.settings.providers, {})
  whole_projects = var.whole_projects
}

# What is wrong is said where it cannot be overlooked, and before anything is made.
resource "terraform_data" "exact" {
  input = module.permissions.problems
  lifecycle {
    precondition {
      condition     = length(module.permissions.problems) == 0
      error_message = join("\n", module.permissions.problems)
    }
  }
}

locals {
  # viewer: which versions there are, where check_versions asks.
  global = merge([for name, s in module.permissions.secrets : merge(
    { "${name} read" = { project = s.project, secret = s.secret, role = "roles/secretmanager.secretAccessor", condition = s.condition } },
    s.versions ? { "${name} see" = { project = s.project, secret = s.secret, role = "roles/secretmanager.viewer", condition = null } } : {},
  ) if s.location == ""]...)

  regional = merge([for name, s in module.permissions.secrets : merge(
    { "${name} read" = { project = s.project, location = s.location, secret = s.secret, role = "roles/secretmanager.secretAccessor", condition = s.condition } },
    s.versions ? { "${name} see" = { project = s.project, location = s.location, secret = s.secret, role = "roles/secretmanager.viewer", condition = null } } : {},
  ) if s.location != ""]...)

  projects = merge([for name, p in module.permissions.projects : merge(
    { "${name} read" = { project = p.project, role = "roles/secretmanager.secretAccessor", condition = p.condition } },
    p.versions ? { "${name} see" = { project = p.project, role = "roles/secretmanager.viewer", condition = p.condition } } : {},
  )]...)
}

resource "google_secret_manager_secret_iam_member" "host" {
  for_each  = local.global
  project   = each.value.project
  secret_id = each.value.secret
  role      = each.value.role
  member    = local.member
  dynamic "condition" {
    for_each = each.value.condition[*]
    content {
      title      = "granted-versions"
      expression = condition.value
    }
  }
}

resource "google_secret_manager_regional_secret_iam_member" "host" {
  for_each  = local.regional
  project   = each.value.project
  location  = each.value.location
  secret_id = each.value.secret
  role      = each.value.role
  member    = local.member
  dynamic "condition" {
    for_each = each.value.condition[*]
    content {
      title      = "granted-versions"
      expression = condition.value
    }
  }
}

resource "google_project_iam_member" "host" {
  for_each = local.projects
  project  = each.value.project
  role     = each.value.role
  member   = local.member
  condition {
    title      = "granted-names"
    expression = each.value.condition
  }
}

# A provider that impersonates becomes that account.
resource "google_service_account_iam_member" "impersonated" {
  for_each           = module.permissions.impersonated
  service_account_id = "projects/-/serviceAccounts/${each.value}"
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.member
}

# With gcp: {login: iam} the account signs for itself.
resource "google_service_account_iam_member" "itself" {
  count              = try(var.settings.gcp.login, "gce") == "iam" ? 1 : 0
  service_account_id = google_service_account.host.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.member
}

resource "google_kms_crypto_key_iam_member" "boot" {
  count         = local.seals ? 1 : 0
  crypto_key_id = var.settings.boot_cache.key_id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = local.member
}
