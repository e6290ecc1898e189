//go:build terraform

package awssm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/awssm"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// caller is a configuration that makes a policy of grants, as terraform/aws does.
const caller = `
variable "grants" { type = any }
variable "stores" { default = {} }
variable "keys" { default = [] }
module "host" {
  source   = "./terraform/host"
  identity = "aws"
  grants   = var.grants
  settings = { providers = var.stores }
}
module "permissions" {
  source       = "./terraform/aws/permissions"
  refs         = module.host.refs
  stores       = var.stores
  partition    = "aws"
  region       = "` + home + `"
  account_id   = "` + accountID + `"
  kms_key_arns = var.keys
}
output "policy" { value = module.permissions.policy }
output "problems" { value = module.permissions.problems }
`

// policyOf has Terraform itself make the policy; the modules need no provider.
func policyOf(t *testing.T, inputs map[string]any) (policy string) {
	t.Helper()
	directory := t.TempDir()
	if err := os.CopyFS(filepath.Join(directory, "terraform"), os.DirFS(filepath.Join("..", "..", "terraform"))); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(inputs)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"main.tf": []byte(caller), "terraform.tfvars.json": text} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	terraform(t, directory, "init", "-input=false", "-no-color")
	terraform(t, directory, "apply", "-auto-approve", "-input=false", "-no-color")
	var outputs struct{ Policy, Problems struct{ Value any } }
	if err := json.Unmarshal(terraform(t, directory, "output", "-json"), &outputs); err != nil {
		t.Fatal(err)
	}
	policy, _ = outputs.Policy.Value.(string)
	if problems, _ := outputs.Problems.Value.([]any); len(problems) > 0 || policy == "" {
		t.Fatalf("the policy is %q, with the problems %q", policy, problems)
	}
	return policy
}

func terraform(t *testing.T, directory string, arguments ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "terraform", arguments...)
	command.Dir, command.Env = directory, append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1")
	var said strings.Builder
	command.Stderr = &said
	answer, err := command.Output()
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s%s", arguments[0], err, answer, said.String())
	}
	return answer
}

// newTerraformWorld is a host whose role has what Terraform makes of grants.
func newTerraformWorld(t *testing.T, o awssm.Options, stores map[string]any, patterns ...string) *world {
	t.Helper()
	w := newWorld(t, o)
	key := w.account.KeyARN(home, "shop")
	w.account.AddRole("/", "terraform")
	w.keys.next = func() (awssim.Keys, error) {
		return w.account.AssumeRole("terraform", "i-0123456789abcdef0", time.Hour)
	}
	policy := policyOf(t, map[string]any{
		"grants": map[string]any{"shop": map[string]any{"workloads": map[string]string{"name": "shop"}, "secrets": patterns}},
		"stores": stores, "keys": []string{key},
	})
	if err := w.permissions.Attach(w.account.RoleARN("terraform"), policy); err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{home, replica} {
		for _, name := range []string{"db", "db-x", "db-abcdef", "shop/a", "shop/b/c", "shopping"} {
			w.secrets[region].PutText(name, name)
		}
		for _, name := range []string{"plain", "/one/a", "/one/b", "/flat/a", "/flat/deep/b", "/tree/a", "/tree/deep/b", "/all/a", "/all/deep/b", "/other"} {
			w.parameters[region].Put(name, name)
		}
	}
	w.secrets[home].SetKey("shop/a", key)
	w.parameters[home].SetKey("/one/a", key)
	return w
}

// What Terraform's policy allows is what the patterns name: each ref that one
// of them matches can be read, and no other.
func TestTerraformGivesWhatTheGrantsName(t *testing.T) {
	patterns := []string{"aws:db", "aws:shop/**", "aws:ssm/plain", "aws:ssm/one/a", "aws:ssm/flat/%2A",
		"aws:ssm/tree/%2A?recursive=true", "aws:ssm/all/**"}
	w := newTerraformWorld(t, awssm.Options{}, nil, patterns...)
	granted := 0
	for _, text := range []string{
		"aws:db", "aws:db-x", "aws:db-abcdef", "aws:shop/a", "aws:shop/b/c", "aws:shopping",
		"aws:ssm/plain", "aws:ssm/one/a", "aws:ssm/one/b", "aws:ssm/one/*", "aws:ssm/flat/a", "aws:ssm/flat/*", "aws:ssm/flat/*?recursive=true",
		"aws:ssm/tree/a", "aws:ssm/tree/*", "aws:ssm/tree/*?recursive=true", "aws:ssm/all/a", "aws:ssm/all/deep/b",
		"aws:ssm/all/*", "aws:ssm/all/deep/*", "aws:ssm/all/*?recursive=true", "aws:ssm/other",
	} {
		ref, matched := w.ref(text), false
		for _, pattern := range patterns {
			parsed, err := secret.ParsePattern(pattern)
			matched = matched || err == nil && parsed.Match(ref)
		}
		_, err := w.Fetch(t.Context(), ref)
		if matched {
			granted++
			if err != nil {
				t.Errorf("%s is granted: %v", text, err)
			}
			continue
		}
		w.checks(text, err, providers.ErrDenied)
	}
	if granted != 12 {
		t.Errorf("%d refs were granted", granted)
	}
}

// A batch gives what single reads give, and no more.
func TestTerraformGivesBatches(t *testing.T) {
	w := newTerraformWorld(t, awssm.Options{}, nil, "aws:db", "aws:shop/**", "aws:ssm/one/a", "aws:ssm/plain")
	refs := []secret.Ref{w.ref("aws:db"), w.ref("aws:shop/a"), w.ref("aws:ssm/one/a"), w.ref("aws:ssm/plain"), w.ref("aws:shopping"), w.ref("aws:ssm/one/b")}
	for i, answer := range w.FetchBatch(t.Context(), refs) {
		switch {
		case i < 4 && answer.Err != nil:
			t.Errorf("%s: %v", refs[i], answer.Err)
		case i >= 4:
			w.checks(refs[i].String(), answer.Err, providers.ErrDenied)
		}
	}
	if _, err := w.CurrentVersion(t.Context(), refs[0]); err == nil {
		t.Error("versions can be described, though nobody asks for them")
	}
}

// Replicas are read when the region does not answer; versions where they are checked.
func TestTerraformGivesReplicasAndVersions(t *testing.T) {
	w := newTerraformWorld(t, awssm.Options{Replicas: []string{replica}},
		map[string]any{"aws": map[string]any{"replicas": []string{replica}, "check_versions": true}}, "aws:db")
	if _, err := w.CurrentVersion(t.Context(), w.ref("aws:db")); err != nil {
		t.Error(err)
	}
	w.secrets[home].Set("", faults[providertest.Down])
	w.wants("aws:db", "value", "db")
	w.fails("aws:db-x", providers.ErrUnavailable)
}
