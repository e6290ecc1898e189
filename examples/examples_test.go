// Package examples_test holds the examples against the programs: every
// configuration is valid, and every label of a Compose file is one that the
// agent understands and that some grant beside it gives. What the documents
// show is held in the same way.
package examples_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

type compose struct {
	Name     string
	Services map[string]service
}

type service struct {
	Image   string
	Runtime string
	Labels  map[string]string
	Devices []string
	Volumes []string
}

// wants attests the service as the agent would, and reads its labels.
func (s service) wants(project, name string) (workload.Selectors, workload.Wants, error) {
	labels := map[string]string{"com.docker.compose.project": project, "com.docker.compose.service": name}
	maps.Copy(labels, s.Labels)
	selectors := workload.Attest(workload.Facts{Image: s.Image, Labels: labels})
	wants, err := workload.ParseLabels(labels, selectors)
	return selectors, wants, err
}

// profiled reports whether the service names a profile in place of labels: of a
// device, or of a volume.
func (s service) profiled() bool {
	return len(s.Devices)+len(s.Volumes) > 0 && s.Runtime == "" && len(s.Labels) == 0
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
			if service.profiled() {
				continue // which profile it has, and what that gives, is seen where it is run
			}
			selectors, wants, err := service.wants(project.Name, name)
			if err != nil || len(wants.Items) == 0 || service.Runtime != "quaymaster" {
				t.Errorf("%s: service %s, runtime %q, wants %d secrets, %v", file, name, service.Runtime, len(wants.Items), err)
			}
			for _, want := range wants.Items {
				refs := []secret.Ref{want.Ref}
				if want.Password != nil {
					refs = append(refs, *want.Password)
				}
				for _, ref := range refs {
					if d := grants.Decide(selectors, ref); !d.Allowed {
						t.Errorf("%s: service %s may not have %s: %s", file, name, ref, d.Reason)
					}
				}
			}
		}
	}
}

// TestEachExampleIsDescribed: each folder has a page of at most a screen that
// names all of its files, and the table knows the folder.
func TestEachExampleIsDescribed(t *testing.T) {
	table, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("*/README.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		dir := filepath.Dir(page)
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n > 60 {
			t.Errorf("%s has %d lines, which is more than a screen", page, n)
		}
		if !strings.Contains(string(table), "("+dir+")") {
			t.Errorf("the table in README.md lacks %s", dir)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			named := strings.Contains(string(text), file.Name()) || file.Name() == "compose.yaml" || file.IsDir()
			if file.Name() != "README.md" && !named {
				t.Errorf("%s does not name %s", page, file.Name())
			}
		}
	}
}

func policyOf(t *testing.T, file string) *policy.Policy {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := load(t, text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var grants []policy.Grant
	for _, grant := range loaded.Grants {
		grants = append(grants, policy.Grant{
			Name: grant.Name, Workloads: grant.Workloads, Secrets: grant.Secrets, Login: policy.Login(grant.Vault),
		})
	}
	return policy.New(grants)
}

// load reads a configuration as the agent does, from a copy that only its
// owner can write to, whatever the checkout's modes are. A warning is an error.
func load(t *testing.T, text []byte) (config.Config, error) {
	t.Helper()
	own := filepath.Join(t.TempDir(), "quaymaster.yaml")
	if err := os.WriteFile(own, text, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, warnings, err := config.Load(own, workload.CheckLabels)
	if err == nil && len(warnings) > 0 {
		err = fmt.Errorf("%v", warnings)
	}
	return loaded, err
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentsShowWhatIsValid: the blocks of YAML in the documents are labels
// that are understood, or configurations that are valid.
func TestDocumentsShowWhatIsValid(t *testing.T) {
	for _, file := range []string{"../README.md", "../docs/operations.md", "../docs/secrets.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := yamlBlock.FindAllSubmatch(text, -1)
		if len(blocks) == 0 {
			t.Errorf("%s: no YAML was found", file)
		}
		for _, block := range blocks {
			if err := checkBlock(t, block[1]); err != nil {
				t.Errorf("%s: %v, in\n%s", file, err, block[1])
			}
		}
	}
}

func checkBlock(t *testing.T, block []byte) error {
	var shown struct {
		Services map[string]service
		Labels   map[string]string
	}
	if err := yaml.Unmarshal(block, &shown); err != nil {
		return err
	}
	if len(shown.Labels) == 0 && len(shown.Services) == 0 {
		_, err := load(t, completed(block))
		return err
	}
	services := map[string]service{"timeline": {Labels: shown.Labels}}
	maps.Copy(services, shown.Services)
	for name, service := range services {
		if _, _, err := service.wants("shop", name); err != nil {
			return err
		}
	}
	return nil
}

// completed adds what a document does not repeat each time: where Vault is, and
// a grant.
func completed(block []byte) []byte {
	text := string(block)
	if strings.Contains(text, "vault:") && !strings.Contains("\n"+text, "\nvault:") {
		text += "vault: {address: \"https://vault.internal:8200\", role: docker-host}\n"
	}
	if !strings.Contains(text, "grants:") {
		text += "grants: [{name: g, workloads: {name: w}, secrets: [\"vault:kv/a\"]}]\n"
	}
	return []byte(text)
}
