//go:build image

package image_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// builders are those of the templates, with what they need here to be read
// without any cloud: no network, no login.
var builders = map[string][]string{
	"amazon-ebs":    nil,
	"azure-arm":     nil,
	"googlecompute": nil,
	"qemu":          {"-var=qemu_source=provision.sh", "-var=qemu_checksum=none", "-var=qemu_accelerator=tcg"},
}

// unknown are keys of azure-arm that the newest plugin that can be built here,
// 1.4.0, does not know; the plugin's own pages name them from 2.1 on. They are
// taken out before it reads the template, so nobody but a person has compared them.
var unknown = []string{"secure_boot_enabled", "security_type", "vtpm_enabled"}

// template is a copy of what the templates consist of, which a test may change.
func template(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	names, err := filepath.Glob("*.pkr.hcl")
	if err != nil || len(names) != 6 {
		t.Fatalf("the templates: %v, %v", names, err)
	}
	for _, name := range append(names, "provision.sh", "check.sh") {
		output(t, "cp", name, dir)
	}
	// The plugin of Azure is older than users are to have it.
	change(t, dir, "variables.pkr.hcl", `">= 2.1.0"`, `">= 1.4.0"`)
	return dir
}

// change replaces what is there exactly once.
func change(t *testing.T, dir, name, from, to string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || strings.Count(string(text), from) != 1 {
		t.Fatalf("%s: not once: %q (%v)", name, from, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Replace(string(text), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// withoutUnknown takes the lines with the unknown keys out.
func withoutUnknown(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "azure.pkr.hcl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^ +(`+strings.Join(unknown, "|")+`) += .*\n`).ReplaceAll(text, nil)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// validate has Packer read the templates for one builder, whole: the plugin's
// own schema, and what the plugin says when it prepares itself.
func validate(t *testing.T, dir, builder string, vars ...string) (said string, err error) {
	t.Helper()
	tools := strings.TrimSpace(output(t, "../../test/packer/build.sh"))
	args := append([]string{"validate", "-only=" + builder + ".host", "-var=package=" + one(t, "_amd64.deb"), "-var=version=1.2.3"}, builders[builder]...)
	command := exec.Command(filepath.Join(tools, "packer"), append(append(args, vars...), ".")...)
	command.Dir = dir
	command.Env = append(os.Environ(), "PACKER_PLUGIN_PATH="+tools+"/plugins", "PACKER_CONFIG_DIR="+t.TempDir(), "CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1",
		"AWS_EC2_METADATA_DISABLED=true", "GOOGLE_APPLICATION_CREDENTIALS=")
	out, err := command.CombinedOutput()
	return string(out), err
}

// TestTemplatesAreValid: all keys of all four builders, variables and the shared
// build.
func TestTemplatesAreValid(t *testing.T) {
	for builder := range builders {
		dir := template(t)
		withoutUnknown(t, dir)
		if said, err := validate(t, dir, builder); err != nil || !strings.Contains(said, "The configuration is valid") {
			t.Errorf("%s: %v\n%s", builder, err, said)
		}
	}
}

// TestAWrongKeyIsSeen: else the test above would say nothing.
func TestAWrongKeyIsSeen(t *testing.T) {
	for builder, wrong := range map[string][3]string{
		"amazon-ebs":    {"amazon.pkr.hcl", "imds_support", "imds_suport"},
		"azure-arm":     {"azure.pkr.hcl", "shared_image_gallery_destination {", "shared_image_gallery_target {"},
		"googlecompute": {"googlecompute.pkr.hcl", "enable_vtpm", "enable_vptm"},
		"qemu":          {"qemu.pkr.hcl", "cd_label", "cd_lable"},
	} {
		dir := template(t)
		withoutUnknown(t, dir)
		change(t, dir, wrong[0], wrong[1], wrong[2])
		if said, err := validate(t, dir, builder); err == nil || !strings.Contains(said, strings.Fields(wrong[2])[0]) {
			t.Errorf("%s: %v\n%s", wrong[2], err, said)
		}
	}
}

// TestWhatThePluginDoesNotKnow is no more than what is said above: when a newer
// plugin can be built, this fails, and the list goes.
func TestWhatThePluginDoesNotKnow(t *testing.T) {
	said, err := validate(t, template(t), "azure-arm")
	if err == nil {
		t.Fatal("the plugin knows all keys: take them out of `unknown`")
	}
	var named []string
	for _, match := range regexp.MustCompile(`named "(\w+)" is not expected`).FindAllStringSubmatch(said, -1) {
		named = append(named, match[1])
	}
	slices.Sort(named)
	if !slices.Equal(named, unknown) {
		t.Errorf("not known are %q and not %q:\n%s", named, unknown, said)
	}
}

// TestWrongVariables are refused before a machine is started, in words.
func TestWrongVariables(t *testing.T) {
	for value, words := range map[string]string{
		"-var=package=quaymaster.tar.gz": "names a .deb or an .rpm",
		"-var=version=v1.2":              "three numbers",
		"-var=name=Host_1":               "lower-case letters",
		"-var=gate=volume":               "runtime or none",
		"-var=qemu_accelerator=fast":     "kvm, tcg or hvf",
		"-var=aws_architecture=amd64":    "x86_64 or arm64",
	} {
		dir := template(t)
		withoutUnknown(t, dir)
		if said, err := validate(t, dir, "qemu", value); err == nil || !strings.Contains(strings.Join(strings.Fields(said), " "), words) {
			t.Errorf("%s: %v\n%s", value, err, said)
		}
	}
}

// TestTemplatesAreFormatted, and hold nothing by which anybody could log in.
func TestTemplatesAreFormatted(t *testing.T) {
	tools := strings.TrimSpace(output(t, "../../test/packer/build.sh"))
	output(t, filepath.Join(tools, "packer"), "fmt", "-check", "-diff", ".")
	names, _ := filepath.Glob("*.pkr.hcl")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`(?m)^\s*(access_key|secret_key|token|client_secret|client_id|credentials_file|credentials_json|account_file|access_token|ssh_password|ssh_private_key_file|shared_credentials_file|profile)\s*=`).FindString(string(text)); found != "" {
			t.Errorf("%s takes a static credential: %s", name, found)
		}
	}
}

// TestScripts: shellcheck has nothing to say of any script with which packages
// and images are made.
func TestScripts(t *testing.T) {
	scripts := []string{"../../test/packer/build.sh", "../../test/setup.sh"}
	for _, pattern := range []string{"*.sh", "../*.sh"} {
		found, _ := filepath.Glob(pattern)
		scripts = append(scripts, found...)
	}
	if len(scripts) < 7 {
		t.Fatalf("only %q", scripts)
	}
	output(t, "shellcheck", scripts...)
	// Lists of units are split on purpose, and `enable` is a function of theirs.
	output(t, "shellcheck", "--shell=sh", "--exclude=SC2086,SC3044", "../deb/postinst", "../deb/prerm", "../deb/postrm", "../rpm/post", "../rpm/preun", "../rpm/postun")
}
