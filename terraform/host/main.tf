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
    # Not quaymaster.yaml: that file is the package's own, which asks before it
    # replaces one that was changed.
    [{ path = "${var.directory}/conf.d/10-host.yaml", content = local.configuration, permissions = "0600" }],
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

  # In the table raw, which Docker rewrites at none of its starts. No interface is
  # named: what the host itself asks does not come in by one, and a network may
  # give its bridge any name. Names of containers are resolved at the same
  # addresses, by port 53, in Azure and Google Cloud; 168.63.129.16 is where Azure
  # answers its own agent.
  rules = [for rule in concat(
    ["-d 169.254.169.254 -p tcp ! --dport 53 -j DROP"],
    var.identity == "azure" ? ["-d 168.63.129.16 -p tcp ! --dport 53 -j DROP"] : [],
  ) : "iptables -w -t raw -C PREROUTING ${rule} 2>/dev/null || iptables -w -t raw -I PREROUTING ${rule}" if var.block_metadata]

  cloud_config = merge(
    { write_files = [for f in local.files : { path = f.path, owner = "root:root", permissions = f.permissions, content = f.content }] },
    local.repository,
    # bootcmd runs at each boot, before the network is said to be up, which Docker
    # waits for; runcmd once, when a package_repository has brought iptables.
    { for key, value in { bootcmd = local.rules, runcmd = concat(local.rules, var.commands) } : key => value if length(value) > 0 },
  )
}
