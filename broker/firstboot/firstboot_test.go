package firstboot_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/firstboot"
	"github.com/quaymaster/quaymaster/broker/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine is a host that boots.
type machine struct {
	t    *testing.T
	main string
}

// newMachine has a configuration that says what text says.
func newMachine(t *testing.T, text string) machine {
	t.Helper()
	m := machine{t, filepath.Join(t.TempDir(), "quaymaster.yaml")}
	m.put("quaymaster.yaml", text)
	return m
}

func (m machine) dir() string { return filepath.Dir(m.main) }

func (m machine) put(name, text string) {
	m.t.Helper()
	file := filepath.Join(m.dir(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// read is a file's content; empty when there is none.
func (m machine) read(name string) string {
	m.t.Helper()
	content, err := os.ReadFile(filepath.Join(m.dir(), name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	return string(content)
}

const own = "conf.d/00-instance.yaml"

func (m machine) boot(i auth.Instance) (firstboot.Report, error) {
	m.t.Helper()
	i.ID = "i-0abc"
	if i.Cloud == "" {
		i.Cloud, i.Attribute = "aws", "tag"
	}
	return firstboot.Configure(m.main, i)
}

// booted boots, and returns what the agent would read.
func (m machine) booted(i auth.Instance) (config.Config, firstboot.Report) {
	m.t.Helper()
	report, err := m.boot(i)
	if err != nil {
		m.t.Fatal(err)
	}
	c, warnings, err := config.Load(m.main)
	if err != nil || len(warnings) > 0 {
		m.t.Fatalf("%v, %v\n%s", err, warnings, m.read(own))
	}
	return c, report
}

func data(text string) secret.Value { return secret.NewValue([]byte(text)) }

var tags = map[string]string{
	"quaymaster-vault-address": "https://vault.internal:8200", "quaymaster-vault-role": "docker-host", "Quaymaster-Vault-Rate": "50",
	"quaymaster-vault-revoke-on-shutdown": "true", "quaymaster-identity": "aws",
}

// cloudConfig writes files below the machine's directory.
func (m machine) cloudConfig(files ...string) string {
	text := "#cloud-config\npackages: [docker.io]\nwrite_files:\n"
	for i := 0; i < len(files); i += 2 {
		text += "  - path: " + filepath.Join(m.dir(), files[i]) + "\n    permissions: '0600'\n    content: |\n      " +
			strings.ReplaceAll(strings.TrimSpace(files[i+1]), "\n", "\n      ") + "\n"
	}
	return text
}

const grants = `grants:
  - {name: shop, workloads: {compose.project: "shop: 1"}, secrets: ["vault:kv/shop/**"]}
profiles: {shop-db: {secrets: {password: "vault:kv/shop/db#password"}, mode: 0400}}
refresh: 90s`

// TestTheFirstSourceCounts: files, then tags, then user-data, key by key, and
// the comment says so.
func TestTheFirstSourceCounts(t *testing.T) {
	m := newMachine(t, "# nothing yet\n")
	m.put("conf.d/10-baked.yaml", "refresh: 2m\n")
	c, report := m.booted(auth.Instance{Attributes: tags, UserData: data(m.cloudConfig(
		"conf.d/20-more.yaml", "grants: [{name: web, workloads: {name: web}, secrets: [\"vault:kv/web\"]}]",
		"quaymaster.yaml", "vault: {address: https://other.internal, role: other}\n"+grants))})
	if c.Vault.Address != "https://vault.internal:8200" || c.Vault.Rate != 50 || !c.Vault.RevokeOnShutdown || c.Identity != "aws" {
		t.Errorf("%+v", c.Vault)
	}
	if len(c.Grants) != 2 || c.Grants[0].Name != "shop" || c.Grants[1].Name != "web" || c.Grants[0].Workloads["compose.project"] != "shop: 1" {
		t.Errorf("%+v", c.Grants)
	}
	if c.Refresh.String() != "2m0s" || c.Profiles["shop-db"].Mode != "0400" {
		t.Errorf("refresh %s, %+v", c.Refresh, c.Profiles)
	}
	remarks := strings.Join(report.Remarks, "\n")
	for _, want := range []string{"vault: it is not taken from the user-data of i-0abc, because it is set by the tags of i-0abc",
		"refresh: it is not taken from the user-data of i-0abc, because it is set by " + m.dir() + "/conf.d/10-baked.yaml:1:1"} {
		if !strings.Contains(remarks, want) {
			t.Errorf("without %q: %s", want, remarks)
		}
	}
	want := []firstboot.Origin{{"grants", "the user-data of i-0abc"}, {"identity", "the tags of i-0abc"}, {"profiles", "the user-data of i-0abc"}, {"vault", "the tags of i-0abc"}}
	got := firstboot.Origins(m.main)
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
	if info, err := os.Stat(filepath.Join(m.dir(), own)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestWhatCloudInitWroteIsAFile: where cloud-init has written what the user-data
// holds, there is nothing to take from it, and nothing to say of it.
func TestWhatCloudInitWroteIsAFile(t *testing.T) {
	m := newMachine(t, "# nothing yet\n")
	m.put("conf.d/10-host.yaml", "vault: {address: https://vault.internal:8200, role: r}\n"+grants+"\n")
	_, report := m.booted(auth.Instance{UserData: data(m.cloudConfig("conf.d/10-host.yaml", m.read("conf.d/10-host.yaml")))})
	if len(report.Remarks) > 0 || m.read(own) != "" {
		t.Errorf("%+v; %s", report, m.read(own))
	}
}

// TestFilesThatNameAVaultKeepIt: no tag leads such a host to another one.
func TestFilesThatNameAVaultKeepIt(t *testing.T) {
	m := newMachine(t, "vault: {address: https://vault.internal:8200, role: baked}\n"+grants)
	if c, _ := m.booted(auth.Instance{Attributes: map[string]string{"quaymaster-vault-address": "https://evil.example", "quaymaster-vault-ca-file": "/tmp/ca"}}); c.Vault.Address != "https://vault.internal:8200" || c.Vault.CAFile != "" {
		t.Errorf("%+v", c.Vault)
	}
	if text := m.read(own); text != "" {
		t.Errorf("%s", text)
	}
}

// TestEachBootWritesAnew: what is no longer given is gone.
func TestEachBootWritesAnew(t *testing.T) {
	m := newMachine(t, grants)
	m.booted(auth.Instance{Attributes: tags})
	before, err := os.Stat(filepath.Join(m.dir(), own))
	if err != nil {
		t.Fatal(err)
	}
	m.booted(auth.Instance{Attributes: tags})
	if after, err := os.Stat(filepath.Join(m.dir(), own)); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same content was written again: %v", err)
	}
	m.put("conf.d/90-own.yaml", "vault: {address: https://vault.internal:8200, role: docker-host}\nidentity: aws\n")
	m.booted(auth.Instance{})
	if text := m.read(own); text != "" {
		t.Errorf("%s", text)
	}
}

// TestWhatIsWrongNamesItsSource, and nothing is written.
func TestWhatIsWrongNamesItsSource(t *testing.T) {
	for name, c := range map[string]struct {
		files string
		given func(m machine) auth.Instance
		want  string
	}{
		"misspelt tag": {grants, func(machine) auth.Instance {
			return auth.Instance{Attributes: map[string]string{"quaymaster-vault-adress": "https://vault.internal"}}
		}, "tag quaymaster-vault-adress of instance i-0abc: unknown key, did you mean vault-address?"},
		"a tag that may not": {grants, func(machine) auth.Instance {
			return auth.Instance{Attributes: map[string]string{"quaymaster-grants": "[]"}}
		}, "tag quaymaster-grants of instance i-0abc: unknown key"},
		"wrong value": {grants, func(machine) auth.Instance {
			return auth.Instance{Attributes: map[string]string{"quaymaster-vault-rate": "many"}}
		}, `tag quaymaster-vault-rate of instance i-0abc: vault.rate: "many" is not a whole number`},
		"missing address": {grants, func(machine) auth.Instance {
			return auth.Instance{Attributes: map[string]string{"quaymaster-vault-role": "r"}}
		}, "the tags of i-0abc: vault.address: is missing"},
		"tags of a whole configuration on AWS": {grants, func(machine) auth.Instance {
			return auth.Instance{Attributes: map[string]string{"quaymaster-config": "allow_swap: true"}}
		}, "tag quaymaster-config of instance i-0abc: unknown key"},
		"misspelt user-data": {"", func(m machine) auth.Instance {
			return auth.Instance{UserData: data(m.cloudConfig("quaymaster.yaml", "valt: {}"))}
		}, `/quaymaster.yaml:1:1: unknown key "valt"; did you mean "vault"?`},
		"user-data that is no YAML": {grants, func(m machine) auth.Instance {
			return auth.Instance{UserData: data("#cloud-config\nwrite_files: [\n")}
		}, "the user-data of i-0abc"},
		"content that is no base64": {grants, func(m machine) auth.Instance {
			return auth.Instance{UserData: data("#cloud-config\nwrite_files: [{path: " + m.main + ", encoding: b64, content: '%'}]\n")}
		}, "the user-data of i-0abc: " + "/"},
		"files that are wrong": {"vault: {address: https://vault.internal:8200, role: r}\ngrnts: []\n", func(machine) auth.Instance {
			return auth.Instance{Attributes: tags}
		}, `/quaymaster.yaml:2:1: unknown key "grnts"`},
	} {
		m := newMachine(t, c.files)
		m.put(own, "# as it was\n")
		_, err := m.boot(c.given(m))
		if _, is := errors.AsType[config.Problems](err); !is || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if text := m.read(own); text != "# as it was\n" {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestNothingToConfigureIsNoError(t *testing.T) {
	m := newMachine(t, "# nothing yet\n")
	report, err := m.boot(auth.Instance{Untold: "no tags", UserData: data("#!/bin/sh\ntrue\n")})
	if err != nil || len(report.Origins) != 0 || len(report.Remarks) != 1 || report.Remarks[0] != "no tags" {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestAWholeConfigurationInAnAttribute is for Google's cloud alone.
func TestAWholeConfigurationInAnAttribute(t *testing.T) {
	m := newMachine(t, "")
	c, _ := m.booted(auth.Instance{Cloud: "gcp", Attribute: "metadata attribute", Attributes: map[string]string{
		"quaymaster-config": "vault: {address: https://other.internal, role: r}\n" + grants, "quaymaster-vault-address": "https://vault.internal:8200", "quaymaster-vault-role": "docker-host",
	}})
	if c.Vault.Address != "https://vault.internal:8200" || len(c.Grants) != 1 {
		t.Errorf("%+v", c)
	}
	if text := m.read(own); !strings.Contains(text, "# grants: from the metadata attribute quaymaster-config of i-0abc\n") || !strings.Contains(text, "# vault: from the metadata attributes of i-0abc\n") {
		t.Errorf("%s", text)
	}
}

// TestOtherFilesOfTheUserData, such as an authority's certificate, are written
// too, and renewed, but not over what somebody else has put there.
func TestOtherFilesOfTheUserData(t *testing.T) {
	m := newMachine(t, "")
	m.put("templates/baked", "baked")
	given := func(ca string) auth.Instance {
		return auth.Instance{UserData: data(m.cloudConfig("vault-ca.pem", ca, "templates/baked", "other", "../elsewhere", "no", "conf.d/00-instance.yaml", "nonsense: 1",
			"quaymaster.yaml", "vault: {address: https://vault.internal, role: r, ca_file: "+m.dir()+"/vault-ca.pem}\n"+grants))}
	}
	for _, ca := range []string{"one", "two"} {
		_, report := m.booted(given(ca))
		if got := m.read("vault-ca.pem"); got != ca+"\n" {
			t.Errorf("%q", got)
		}
		if m.read("templates/baked") != "baked" || len(report.Remarks) != 1 || !strings.Contains(report.Remarks[0], "templates/baked: what the user-data of i-0abc holds of it is not used") {
			t.Errorf("%v", report.Remarks)
		}
	}
	if got := m.read("../elsewhere"); got != "" {
		t.Errorf("it wrote outside of its directory: %s", got)
	}
	bare := newMachine(t, "")
	if _, err := bare.boot(auth.Instance{UserData: data(bare.cloudConfig("vault-ca.pem", "one", "quaymaster.yaml", "vault: {role: r}"))}); err == nil || bare.read("vault-ca.pem") != "" {
		t.Errorf("%v: half of what is not valid was written", err)
	}
}

// TestLinksDoNotLeadOut of the configuration's directory.
func TestLinksDoNotLeadOut(t *testing.T) {
	m, elsewhere := newMachine(t, grants), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(m.dir(), "conf.d")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.boot(auth.Instance{Attributes: tags}); err == nil {
		t.Error("it wrote through a link")
	}
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestProblemsAreKeptUntilTheNextBoot(t *testing.T) {
	m := newMachine(t, grants)
	if err := firstboot.Note(m.main, []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(firstboot.Noted(m.main), "|"); got != "a|b" {
		t.Errorf("%q", got)
	}
	if err := firstboot.Note(m.main, nil); err != nil || firstboot.Noted(m.main) != nil {
		t.Errorf("%v, %q", err, firstboot.Noted(m.main))
	}
}
