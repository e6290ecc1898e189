// Package terraform_test holds what the Terraform examples put on their hosts
// against the programs: every label of a Compose file is one that the agent
// understands, and that some pattern of the grants beside it gives. The modules
// themselves are tested in test/terraform.
package terraform_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

type compose struct {
	Name     string
	Services map[string]struct {
		Image  string
		Labels map[string]string
	}
}

// inGrants is a pattern in a list of secrets.
var inGrants = regexp.MustCompile(`"((?:vault|aws|azure|gcp):[^"]+)"`)

func patterns(t *testing.T, file string) (all []secret.Pattern) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range inGrants.FindAllStringSubmatch(string(text), -1) {
		pattern, err := secret.ParsePattern(match[1])
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		all = append(all, pattern)
	}
	return all
}

func TestComposeFilesAskForWhatIsGranted(t *testing.T) {
	files, err := filepath.Glob("*/compose.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d Compose files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var project compose
		if err := yaml.Unmarshal(text, &project); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		granted := patterns(t, filepath.Join(filepath.Dir(file), "main.tf"))
		for name, service := range project.Services {
			labels := map[string]string{"com.docker.compose.project": project.Name, "com.docker.compose.service": name}
			maps.Copy(labels, service.Labels)
			wants, err := workload.ParseLabels(labels, workload.Attest(workload.Facts{Image: service.Image, Labels: labels}))
			if err != nil || len(wants.Items) == 0 {
				t.Errorf("%s: service %s wants %d secrets: %v", file, name, len(wants.Items), err)
			}
			for _, want := range wants.Items {
				if !matched(granted, want.Ref) {
					t.Errorf("%s: service %s: %s is not in a grant of main.tf", file, name, want.Ref)
				}
			}
		}
	}
}

func matched(patterns []secret.Pattern, ref secret.Ref) bool {
	for _, pattern := range patterns {
		if pattern.Match(ref) {
			return true
		}
	}
	return false
}
