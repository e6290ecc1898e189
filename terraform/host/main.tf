# One host's configuration, from the same grants that terraform/vault and the
# clouds' modules make permissions of.

locals {
  vault = var.vault == null ? {} : { vault = { for key, value in merge(
    { for key, value in var.vault : key => value if key != "ca_pem" },
    var.vault.ca_pem == null ? {} : { ca_file = local.ca_file },
  ) : key => value if value != null } }

  ca_file = "${var.directory}/vault-ca.pem"

  # Sorted by name, as Terraform keeps maps: the same grants give the same text.
  grants = [for name, grant in var.grants : merge(
    { name = name, workloads = grant.workloads, secrets = grant.secrets },
    grant.vault == null ? {} : { vault = { for key, value in grant.vault : key => value if value != null } },
    grant.boot_cache == true ? { boot_cache = true } : {},
  )]

  configuration = yamlencode(merge({ identity = var.identity }, local.vault, { grants = local.grants }, var.settings))
}

# The providers that a grant may name: clouds' own need no configuration.
module "grants" {
  source = "./grants"
  grants = var.grants
  known  = concat(["aws", "azure", "gcp"], var.vault == null ? [] : ["vault"], try(keys(var.settings.providers), []))
}

locals {
  files = concat(
    [{ path = "${var.directory}/quaymaster.yaml", content = local.configuration, permissions = "0600" }],
    try(var.vault.ca_pem, null) == null ? [] : [{ path = local.ca_file, content = var.vault.ca_pem, permissions = "0600" }],
    var.files,
  )

  # As lists of none or one: the two sides of a condition would have to be alike.
  repository = merge(concat(
    [for r in var.package_repository[*] : { package_update = true, packages = [compact(["quaymaster", r.version])] }],
    [for r in var.package_repository[*] : { apt = { sources = { quaymaster = r.apt } } } if r.apt != null],
    [for r in var.package_repository[*] : { yum_repos = { quaymaster = {
      name = "Quaymaster", baseurl = r.yum.baseurl, gpgkey = r.yum.gpgkey, gpgcheck = true, enabled = true,
    } } } if r.yum != null],
  )...)

  cloud_config = merge(
    { write_files = [for f in local.files : { path = f.path, owner = "root:root", permissions = f.permissions, content = f.content }] },
    local.repository,
    { for key, value in { runcmd = var.commands } : key => value if length(value) > 0 },
  )
}
