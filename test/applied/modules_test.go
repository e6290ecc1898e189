//go:build terraform

package applied_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quaymaster/quaymaster/broker/config"
)

// TestModules: the modules are formatted and valid, and pass their own tests.
func TestModules(t *testing.T) {
	w := emptyWorkspace(t)
	must(t, os.CopyFS(filepath.Join(w.dir, "modules"), os.DirFS(modules)))
	for _, module := range []string{"host", "vault"} {
		dir := filepath.Join("modules", module)
		for _, args := range [][]string{{"fmt", "-check", "-diff", "-recursive"}, {"init"}, {"validate"}, {"test"}} {
			output, err := w.run(t.Context(), dir, args...)
			must(t, err)
			if args[0] == "test" {
				t.Log(module, last(output))
			}
		}
	}
}

func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

const everyBadGrant = `
module "host" {
  source   = "./modules/host"
  identity = "aws"
  grants   = local.grants
}
module "vault" {
  source  = "./modules/vault"
  address = "https://vault.internal:8200"
  role    = "docker-host"
  mounts  = { kv_v2 = ["kv", "team/kv"] }
  aws     = { bound_iam_principal_arns = ["arn:aws:iam::123456789012:role/docker-host"] }
  grants  = local.grants
}
locals {
  grants = {
    shop = {
      workloads = { "compose.projekt" = "shop" }
      secrets = ["shop/db", "vaullt:kv/x", "vault:kv//x", "vault:kv/%4", "vault:kv/x@1#f", "vault:kv/db-*", "vault:kv/**/x", "vault:secret/x",
        "vault:team/*/x", "vault:pki/**", "vault:sys/mounts", "vault:kv", "vault:kv/a%22b"]
    }
    Pay = { workloads = {}, secrets = ["vault:kv/x"], vault = {} }
  }
}
`

// TestMessages: what is wrong with grants is said in sentences, each with the
// grant and what to write instead, all at once.
func TestMessages(t *testing.T) {
	w := newWorkspace(t, everyBadGrant, "VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=none")
	output, err := w.run(t.Context(), ".", "plan")
	if err == nil {
		t.Fatal("bad grants were planned")
	}
	said := strings.Join(strings.Fields(output), " ") // terraform breaks lines
	for _, want := range []string{
		`grant shop: unknown selector compose.projekt: the selectors are compose.project, compose.service`,
		`grant shop: pattern "shop/db": a ref starts with its provider and a colon, as in vault:kv/shop/db#password`,
		`grant shop: pattern "vaullt:kv/x": there is no provider vaullt; there are: aws, azure, gcp`,
		`grant shop: pattern "vault:kv//x": path "kv//x": starts or ends with a slash, or has an empty segment`,
		`grant shop: pattern "vault:kv/%4": "kv/%4": a percent sign is followed by two hex digits, of text in UTF-8; a literal one is written %25`,
		`grant shop: pattern "vault:kv/x@1#f": the order is path?params#field@version`,
		`grant Pay: workloads has no selector, so it would match every container: name one, as in {"compose.project" = "shop"}`,
		`grant Pay: vault says nothing: give a role, a list of policies, or both`,
		`grant shop: pattern "vault:kv/db-*": a policy of Vault cannot say "db-*": a wildcard is a whole segment (*), or ** at the very end (db-**: whatever begins so, at any depth); or write the names one by one`,
		`grant shop: pattern "vault:kv/**/x": a policy of Vault has ** only at the very end of a path: write one pattern for each depth`,
		`grant shop: pattern "vault:secret/x": which kind of secrets engine is mounted there decides the rule: name its mount in mounts (kv_v2 = ["secret"], for one)`,
		`grant shop: pattern "vault:team/*/x": a wildcard stands where the secrets engine is named: write one pattern for each mount`,
		`grant shop: pattern "vault:pki/**": what is read and what is written to takes other rules: write one pattern for each use, as in pki/issue/*`,
		`grant shop: pattern "vault:sys/mounts": below sys/ Vault keeps its own workings, not secrets`,
		`grant shop: pattern "vault:kv": names a mount, not a secret below it`,
		`grant shop: pattern "vault:kv/a%22b": a policy of Vault cannot name a path with quotes`,
		`grant Pay: its policy is called docker-host-Pay, and Vault keeps names of policies in lower case`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say: %s", want)
		}
	}
	if t.Failed() {
		t.Log(output)
	}
}

const everySetting = `
module "host" {
  source    = "./modules/host"
  identity  = "gcp"
  directory = var.directory
  commands  = ["docker compose -f /etc/shop/compose.yaml up -d"]
  package_repository = {
    apt     = { source = "deb [signed-by=$KEY_FILE] https://packages.example.com/debian stable main", key = "KEY" }
    yum     = { baseurl = "https://packages.example.com/rpm", gpgkey = "https://packages.example.com/key.asc" }
    version = "1.2.0"
  }
  vault = {
    address = "https://vault.internal:8200", role = "docker-host", mount = "team/gcp", namespace = "shop", login_spread = "30s"
    tls_server_name = "vault.internal", revoke_on_shutdown = false, rate = 20, check_versions = true
    ca_pem          = file(var.ca)
  }
  grants = {
    a = { workloads = { "compose.project" = "shop" }, secrets = ["vault:kv/%7B%7B/**#a%2Ab", "gcp:p/s@7", "eu:x?name=/a//b"], boot_cache = true }
    b = { workloads = { "label.team" = "x" }, secrets = ["vault:kv/b"], vault = { role = "b", policies = ["c", "d"] } }
    c = { workloads = { "name" = "c: [\"]#" }, secrets = ["vault:kv/c"], vault = { policies = ["c"] } }
  }
  settings = {
    gcp          = { login = "iam" }
    providers    = { eu = { type = "aws", region = "eu-west-1", replicas = ["eu-central-1"], rate = 5 } }
    profiles     = { db = { secrets = { password = "vault:kv/b" }, mode = "0400" } }
    gate_timeout = "45s"
    require_gate = true
    boot_cache   = { key = "gcp-kms", key_id = "projects/p/locations/l/keyRings/r/cryptoKeys/k" }
  }
}
variable "directory" {}
variable "ca" {}
output "user_data" { value = module.host.user_data }
`

// checkSchema has cloud-init itself judge user-data.
func checkSchema(t *testing.T, userData string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "user-data")
	must(t, os.WriteFile(file, []byte(userData), 0o600))
	if said, err := exec.CommandContext(t.Context(), "cloud-init", "schema", "--config-file", file).CombinedOutput(); err != nil {
		t.Errorf("cloud-init schema: %v\n%s\n%s", err, said, userData)
	}
}

// TestConfiguration: what terraform/host writes is what the agent reads.
func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	const pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	must(t, os.WriteFile(ca, []byte(pem), 0o600))
	w := newWorkspace(t, everySetting, "TF_VAR_directory="+dir, "TF_VAR_ca="+ca)
	w.must(t, "apply", "-auto-approve")
	userData := w.output(t, "user_data")
	checkSchema(t, userData)
	boot(t, userData)
	got, warnings, err := config.Load(filepath.Join(dir, "quaymaster.yaml"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v, %v", err, warnings)
	}
	v := got.Vault
	if got.Identity != "gcp" || got.GCP.Login != "iam" || v.Mount != "team/gcp" || v.Rate != 20 || !v.CheckVersions || v.LoginSpread.Seconds() != 30 ||
		v.CAFile != filepath.Join(dir, "vault-ca.pem") || len(got.Grants) != 3 || !got.Grants[0].BootCache || got.Grants[1].Vault.Role != "b" ||
		len(got.Grants[1].Vault.Policies) != 2 || got.Grants[2].Workloads["name"] != `c: ["]#` || got.Providers["eu"].Replicas[0] != "eu-central-1" {
		t.Errorf("the agent reads %+v", got)
	}
	if text, err := os.ReadFile(v.CAFile); err != nil || string(text) != pem {
		t.Errorf("%q, %v", text, err)
	}
}

// boot does what cloud-init does first with user-data: it writes its files.
func boot(t *testing.T, userData string) {
	t.Helper()
	body, is := strings.CutPrefix(userData, "#cloud-config\n")
	var data struct {
		WriteFiles []struct{ Path, Permissions, Owner, Content string } `yaml:"write_files"`
	}
	if err := yaml.Unmarshal([]byte(body), &data); err != nil || !is {
		t.Fatalf("%v in\n%s", err, userData)
	}
	for _, file := range data.WriteFiles {
		if file.Permissions != "0600" || file.Owner != "root:root" {
			t.Errorf("%s is %s of %s", file.Path, file.Permissions, file.Owner)
		}
		must(t, os.MkdirAll(filepath.Dir(file.Path), 0o755))
		must(t, os.WriteFile(file.Path, []byte(file.Content), 0o600))
		if filepath.Base(filepath.Dir(file.Path)) == "conf.d" { // beside it lies what the package brings
			main := filepath.Join(filepath.Dir(filepath.Dir(file.Path)), "quaymaster.yaml")
			must(t, os.WriteFile(main, []byte("# nothing\n"), 0o600))
		}
	}
}
