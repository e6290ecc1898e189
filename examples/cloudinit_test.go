package examples_test

import (
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// cloudConfig is what the examples use of cloud-init's. Its schema lets unknown
// keys pass at the top; reading it strictly does not.
type cloudConfig struct {
	WriteFiles []struct {
		Path, Permissions, Content string
	} `yaml:"write_files"`
	APT struct {
		Sources map[string]struct{ Source, Key string }
	}
	PackageUpdate bool `yaml:"package_update"`
	Packages      []string
	RunCmd        [][]string `yaml:"runcmd"`
}

// userData are the cloud-configs of the examples, by file; of a multipart one
// its part.
func userData(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("cloud-init/*.yaml")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files of user-data, %v", len(files), err)
	}
	all := map[string]string{"cloud-init/multipart.txt": cloudConfigPart(t, "cloud-init/multipart.txt")}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = string(text)
	}
	return all
}

// cloudConfigPart is the one part of a multipart file that is a cloud-config.
func cloudConfigPart(t *testing.T, file string) (part string) {
	t.Helper()
	text, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	message, err := mail.ReadMessage(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	kind, parameters, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/mixed" {
		t.Fatalf("%s is %q, %v", file, kind, err)
	}
	for parts := multipart.NewReader(message.Body, parameters["boundary"]); ; {
		next, err := parts.NextPart()
		if err == io.EOF {
			return part
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		content, err := io.ReadAll(next)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if strings.HasPrefix(next.Header.Get("Content-Type"), "text/cloud-config") {
			part = string(content)
		} else if !strings.HasPrefix(string(content), "#!/bin/sh\n") {
			t.Errorf("%s: a script begins with %.20q", file, content)
		}
	}
}

// layOut writes the files of user-data below root as cloud-init does, beside the
// configuration that the package brings, and returns that file.
func layOut(t *testing.T, text, root string) (configuration string) {
	t.Helper()
	var parsed cloudConfig
	if err := yaml.UnmarshalWithOptions([]byte(text), &parsed, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	packaged, err := os.ReadFile("../packaging/files/quaymaster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	configuration = filepath.Join(root, "etc/quaymaster/quaymaster.yaml")
	write(t, configuration, string(packaged), 0o600)
	for _, file := range parsed.WriteFiles {
		mode, err := strconv.ParseUint(file.Permissions, 8, 32)
		if err != nil || !strings.HasPrefix(file.Path, "/etc/quaymaster/conf.d/") {
			t.Errorf("%s with permissions %q: %v", file.Path, file.Permissions, err)
		}
		write(t, filepath.Join(root, file.Path), file.Content, os.FileMode(mode))
	}
	return configuration
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// TestUserDataConfiguresTheHost: what cloud-init writes is what the agent reads
// at its first start, by the identity that the file's name says.
func TestUserDataConfiguresTheHost(t *testing.T) {
	for file, text := range userData(t) {
		loaded, warnings, err := config.Load(layOut(t, text, t.TempDir()), workload.CheckLabels)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", file, err, warnings)
			continue
		}
		cloud, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".yaml"), "-")
		if cloud == "multipart.txt" {
			cloud = "aws"
		}
		if loaded.Identity != cloud || loaded.Vault.Role != "docker-host" || len(loaded.Grants) == 0 {
			t.Errorf("%s: identity %q, role %q, %d grants", file, loaded.Identity, loaded.Vault.Role, len(loaded.Grants))
		}
	}
}

// TestRepositoryComesBeforeContainers: user-data that installs the package has
// the gate in Docker's way before the first container is started.
func TestRepositoryComesBeforeContainers(t *testing.T) {
	for file, text := range userData(t) {
		var parsed cloudConfig
		if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(file, "repository") {
			continue
		}
		if len(parsed.Packages) != 2 || !strings.Contains(parsed.APT.Sources["quaymaster.list"].Source, "[signed-by=$KEY_FILE]") {
			t.Errorf("%s installs %v from %v", file, parsed.Packages, parsed.APT.Sources)
		}
		var order []string
		for _, command := range parsed.RunCmd {
			order = append(order, strings.Join(command[:2], " "))
		}
		if got := strings.Join(order, ", "); got != "quaymaster validate, quaymaster install, docker run" {
			t.Errorf("%s runs %s", file, got)
		}
	}
}
