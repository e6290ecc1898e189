//go:build terraform

package applied_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/test/realvault"
	"github.com/quaymaster/quaymaster/test/shop"
)

// grants are those of every host of these tests.
const grants = `{
  timeline = {
    workloads = { "compose.project" = "shop", "compose.service" = "timeline" }
    secrets   = ["vault:kv/shop/**", "vault:kv1/shop/*", "vault:pki/issue/timeline?common_name=timeline.shop.internal"]
  }
  payments = {
    workloads = { "compose.project" = "shop", "compose.service" = "payments" }
    secrets   = ["vault:kv/payments/*"]
    vault     = { role = "payments" }
  }
  narrow = {
    workloads = { "compose.project" = "shop", "compose.service" = "narrow" }
    secrets   = ["vault:kv/narrow"]
    vault     = { policies = ["narrow"] }
  }
}`

// both is how the modules are used together.
const both = `
variable "address" {}
variable "ca" { default = null }
variable "identity" {}
variable "binding" { type = any }
variable "directory" {}
variable "settings" {
  type    = any
  default = {}
}
variable "secret" {
  type      = object({ value = string })
  default   = null
  sensitive = true
}
locals {
  grants = %s
}
module "vault" {
  source              = "./modules/vault"
  address             = var.address
  ca_pem              = var.ca == null ? null : file(var.ca)
  role                = "docker-host"
  grants              = local.grants
  mounts              = { kv_v2 = ["kv"], kv_v1 = ["kv1"] }
  aws                 = try(var.binding.aws, null)
  azure               = try(var.binding.azure, null)
  gcp                 = try(var.binding.gcp, null)
  azure_client_secret = var.secret
}
module "host" {
  source    = "./modules/host"
  identity  = var.identity
  vault     = module.vault.vault
  grants    = local.grants
  settings  = var.settings
  directory = var.directory
}
output "user_data" { value = module.host.user_data }
`

// setting is the input of both, but for the address.
type setting map[string]any

// applied is a Vault after Terraform was there.
type applied struct {
	*workspace
	vault  *realvault.Vault
	before map[string]any // what the Vault had before
}

// apply applies both modules.
func apply(t *testing.T, v *realvault.Vault, s setting) *applied {
	t.Helper()
	a := &applied{vault: v, before: inventory(t, v)}
	env := []string{"VAULT_ADDR=" + v.Address(), "VAULT_TOKEN=" + v.Client().Token()}
	if strings.HasPrefix(v.Address(), "https:") {
		env = append(env, "VAULT_CACERT="+v.CAFile())
	}
	a.workspace = newWorkspace(t, fmt.Sprintf(both, grants), env...)
	s["address"] = v.Address()
	text, err := json.Marshal(s)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(a.dir, "terraform.tfvars.json"), text, 0o600))
	a.must(t, "apply", "-auto-approve")
	if after := inventory(t, v); len(after) == len(a.before) {
		t.Fatalf("nothing was made: %v", after)
	}
	return a
}

// settled: a second look finds nothing to change.
func (a *applied) settled(t *testing.T) {
	t.Helper()
	if output, err := a.run(t.Context(), ".", "plan", "-detailed-exitcode"); err != nil {
		t.Errorf("a plan after the apply wants to change something: %v\n%s", err, output)
	}
}

// destroyed: after destroy, the Vault has what it had before.
func (a *applied) destroyed(t *testing.T) {
	t.Helper()
	a.must(t, "destroy", "-auto-approve")
	if after := inventory(t, a.vault); fmt.Sprint(after) != fmt.Sprint(a.before) {
		t.Errorf("destroy left another Vault:\n%v\nbefore:\n%v", after, a.before)
	}
}

// inventory is what Vault has of auth methods, with their roles, and policies.
func inventory(t *testing.T, v *realvault.Vault) map[string]any {
	t.Helper()
	found := map[string]any{}
	methods, err := v.Client().Sys().ListAuthWithContext(t.Context())
	must(t, err)
	for _, path := range slices.Sorted(maps.Keys(methods)) {
		found["auth "+path] = methods[path].Type
		if roles, err := v.Client().Logical().ListWithContext(t.Context(), "auth/"+path+"role"); err == nil && roles != nil {
			found["roles "+path] = roles.Data["keys"]
		}
	}
	policies, err := v.Client().Sys().ListPoliciesWithContext(t.Context())
	must(t, err)
	for _, name := range policies {
		text, err := v.Client().Sys().GetPolicyWithContext(t.Context(), name)
		must(t, err)
		found["policy "+name] = text
	}
	return found
}

// fill puts secrets into a Vault that has the mounts kv and kv1, those of the
// grants and some beside them.
func fill(t *testing.T, v *realvault.Vault) {
	t.Helper()
	ctx := t.Context()
	for name, fields := range map[string]map[string]any{
		"shop/db": {"password": shop.Password}, "shop/timeline/key": {"v": "deep"}, "payments/key": {"v": "sesame"}, "narrow": {"v": "thin"},
		"payments/deeper/key": {"v": "not granted"}, "other/db": {"v": "not granted"}, "narrower": {"v": "not granted"}, "shopkeeper": {"v": "not granted"},
	} {
		_, err := v.PutKV2(ctx, "kv", name, fields)
		must(t, err)
	}
	must(t, v.PutKV1(ctx, "kv1", "shop/legacy", map[string]any{"value": shop.Legacy}))
	must(t, v.PutKV1(ctx, "kv1", "shop/old/legacy", map[string]any{"value": "not granted"}))
	_, err := v.EnablePKI(ctx, "pki")
	must(t, err)
	for _, role := range []string{"timeline", "bank"} {
		must(t, v.WritePKIRole(ctx, realvault.PKIRole{Mount: "pki", Name: role, Domains: []string{"shop.internal"}, TTL: time.Hour, MaxTTL: time.Hour, Lease: true}))
	}
}

// mountKV mounts what fill fills.
func mountKV(t *testing.T, v *realvault.Vault) {
	t.Helper()
	must(t, v.MountKV(t.Context(), "kv", 2))
	must(t, v.MountKV(t.Context(), "kv1", 1))
}

func serve(t *testing.T, handler http.Handler, o cloudsim.Options) string {
	t.Helper()
	server, err := cloudsim.Start(handler, o)
	must(t, err)
	t.Cleanup(func() { server.Close() })
	return strings.TrimSuffix(server.URL(), "/")
}
