// Package examples_test holds the examples against the programs: every
// configuration is valid, and every label of a Compose file is one that the
// agent understands and that some grant beside it gives.
package examples_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/workload"
)

type compose struct {
	Name     string
	Services map[string]struct {
		Image   string
		Runtime string
		Labels  map[string]string
	}
}

func TestComposeExamples(t *testing.T) {
	files, err := filepath.Glob("*/compose.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d Compose files, %v", len(files), err)
	}
	for _, file := range files {
		var project compose
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &project); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		grants := policyOf(t, filepath.Join(filepath.Dir(file), "quaymaster.yaml"))
		for name, service := range project.Services {
			service.Labels["com.docker.compose.project"], service.Labels["com.docker.compose.service"] = project.Name, name
			selectors := workload.Attest(workload.Facts{Image: service.Image, Labels: service.Labels})
			wants, err := workload.ParseLabels(service.Labels, selectors)
			if err != nil || len(wants.Items) == 0 || service.Runtime != "quaymaster" {
				t.Errorf("%s: service %s, runtime %q, wants %d secrets, %v", file, name, service.Runtime, len(wants.Items), err)
			}
			for _, want := range wants.Items {
				if d := grants.Decide(selectors, want.Ref); !d.Allowed {
					t.Errorf("%s: service %s may not have %s: %s", file, name, want.Ref, d.Reason)
				}
			}
		}
	}
}

// policyOf reads a configuration as the agent does, from a copy that only its
// owner can write to, whatever the checkout's modes are.
func policyOf(t *testing.T, file string) *policy.Policy {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "quaymaster.yaml")
	if err := os.WriteFile(own, text, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, warnings, err := config.Load(own)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v %v", file, err, warnings)
	}
	var grants []policy.Grant
	for _, grant := range loaded.Grants {
		grants = append(grants, policy.Grant{
			Name: grant.Name, Workloads: grant.Workloads, Secrets: grant.Secrets, Login: policy.Login(grant.Vault),
		})
	}
	return policy.New(grants)
}
