package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// write makes a directory with these files, by slash-separated path, that the
// checks of ownership accept whatever the umask is.
func write(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t testing.TB, files map[string]string) (c config.Config, warnings, problems string) {
	t.Helper()
	dir := write(t, files)
	c, warned, err := config.Load(filepath.Join(dir, "q.yaml"), workload.CheckLabels)
	if err != nil {
		if !reflect.DeepEqual(c, config.Config{}) {
			t.Errorf("a configuration came with the error: %+v", c)
		}
		problems = strings.ReplaceAll(err.Error(), dir+"/", "")
	}
	return c, strings.ReplaceAll(config.Problems(warned).Error(), dir+"/", ""), problems
}

func TestSmallestUsefulConfiguration(t *testing.T) {
	got, warnings, problems := load(t, map[string]string{"q.yaml": `
vault: {address: https://vault.internal:8200, role: docker-host}
grants:
  - name: timeline
    workloads: {compose.project: shop, compose.service: timeline, label.environment: production}
    secrets: ["vault:kv/shop/timeline/**", "vault:pki/issue/timeline?common_name=*.timeline.prod.internal"]
`})
	if problems != "" || warnings != "" {
		t.Fatalf("problems:\n%s\nwarnings:\n%s", problems, warnings)
	}
	want := config.Default()
	want.Vault.Address, want.Vault.Role = "https://vault.internal:8200", "docker-host"
	want.Grants = got.Grants // looked at below
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	grant := got.Grants[0]
	if grant.Name != "timeline" || len(grant.Secrets) != 2 || grant.Secrets[0].String() != "vault:kv/shop/timeline/**" ||
		grant.Workloads["label.environment"] != "production" || len(grant.Workloads) != 3 {
		t.Errorf("grant: %+v", grant)
	}
	if clouds := got.Clouds(); len(clouds) != 0 {
		t.Errorf("clouds: %+v", clouds)
	}
	if vaults := got.Vaults(); len(vaults) != 1 || vaults["vault"] != got.Vault {
		t.Errorf("vaults: %+v", vaults)
	}
}

// Vault's own variable says where Vault is when no file does.
func TestAddressByVaultsOwnVariable(t *testing.T) {
	t.Setenv("VAULT_ADDR", "https://elsewhere.internal:8200")
	for text, want := range map[string]string{
		"vault: {role: r}\n": "https://elsewhere.internal:8200",
		"vault: {role: r, address: https://vault.internal:8200}\n": "https://vault.internal:8200",
	} {
		c, _, problems := load(t, map[string]string{"q.yaml": text})
		if problems != "" || c.Vault.Address != want {
			t.Errorf("%s: %q, %s", text, c.Vault.Address, problems)
		}
	}
	t.Setenv("VAULT_ADDR", "vault.internal")
	if _, _, problems := load(t, map[string]string{"q.yaml": "vault: {role: r}\n"}); !strings.Contains(problems, "vault.address: write it as https://host:port") {
		t.Errorf("problems: %s", problems)
	}
}

// full returns the example that uses every key.
func full(t testing.TB) config.Config {
	t.Helper()
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(write(t, map[string]string{"ca.pem": ""}), "ca.pem")
	c, warnings, problems := load(t, map[string]string{
		"q.yaml": strings.ReplaceAll(string(text), "/dev/null/replaced-by-the-test", ca)})
	if problems != "" || warnings != "" {
		t.Fatalf("problems:\n%s\nwarnings:\n%s", problems, warnings)
	}
	return c
}

func TestEveryKeyIsRead(t *testing.T) {
	c := full(t)
	c.LateAttach = lateAttach(t)
	merged := c
	merged.StartFailed = true // the one that is not zero by default
	merged.Providers = map[string]config.Provider{"*": mergedProvider(c)}
	everyFieldSet(t, "", reflect.ValueOf(merged))
	changedFromDefault(t, "", reflect.ValueOf(c), reflect.ValueOf(config.Default()))
	if c.GateTimeout != 45*time.Second || c.Refresh != 90*time.Second || c.MaxStale != 90*time.Minute {
		t.Errorf("durations: %s, %s, %s", c.GateTimeout, c.Refresh, c.MaxStale)
	}
	if c.Grants[0].Workloads["user"] != "1000" {
		t.Errorf("a number as text: %q", c.Grants[0].Workloads["user"])
	}
	if names := slices.Sorted(maps.Keys(c.Vaults())); !slices.Equal(names, []string{"shop-vault", "vault"}) {
		t.Errorf("vaults: %v", names)
	}
}

// lateAttach returns what is read of the one key that cannot stand beside the
// others in full.yaml.
func lateAttach(t *testing.T) bool {
	t.Helper()
	c, _, problems := load(t, one(valid+"late_attach: true"))
	if problems != "" {
		t.Error(problems)
	}
	return c.LateAttach
}

// mergedProvider has what any provider has: no type may have every key.
func mergedProvider(c config.Config) (all config.Provider) {
	for _, provider := range c.Providers {
		merge(reflect.ValueOf(&all).Elem(), reflect.ValueOf(provider))
	}
	return all
}

func merge(into, from reflect.Value) {
	for i := range from.NumField() {
		switch {
		case from.Type().Field(i).Type.Kind() == reflect.Struct:
			merge(into.Field(i), from.Field(i))
		case !from.Field(i).IsZero():
			into.Field(i).Set(from.Field(i))
		}
	}
}

func everyFieldSet(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s was not read", name)
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				everyFieldSet(t, name+"."+field.Name, v.Field(i))
			}
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			everyFieldSet(t, name+"."+key.String(), v.MapIndex(key))
		}
	case reflect.Slice:
		for i := range v.Len() {
			everyFieldSet(t, name+"[]", v.Index(i))
		}
	}
}

func changedFromDefault(t *testing.T, name string, got, byDefault reflect.Value) {
	t.Helper()
	if got.Kind() != reflect.Struct {
		if reflect.DeepEqual(got.Interface(), byDefault.Interface()) {
			t.Errorf("%s still has its default", name)
		}
		return
	}
	for i := range got.NumField() {
		changedFromDefault(t, name+"."+got.Type().Field(i).Name, got.Field(i), byDefault.Field(i))
	}
}

func TestLaterFilesAddUp(t *testing.T) {
	grant := func(name string) string {
		return "{name: " + name + ", workloads: {name: a}, secrets: [\"eu:kv/a\"]}"
	}
	c, warnings, problems := load(t, map[string]string{
		"q.yaml":               "vault: {address: https://one, role: r}\nrefresh: 5m\ngrants: [" + grant("main") + "]",
		"conf.d/20-b.yaml":     "vault: {address: https://three}\ngrants: [" + grant("b") + "]",
		"conf.d/10-a.yaml":     "vault: {address: https://two}\nproviders: {eu: {type: vault, address: https://eu, role: r}}\ngrants: [" + grant("a") + "]",
		"conf.d/30-empty.yaml": "# nothing yet\n",
		"conf.d/.40.yaml":      "not: read",
		"conf.d/README":        "not: read",
		"conf.d/50-typo.yml":   "not: read",
	})
	if problems != "" {
		t.Fatal(problems)
	}
	if c.Vault.Address != "https://three" || c.Vault.Role != "r" || c.Refresh != 5*time.Minute {
		t.Errorf("scalars: %+v refresh %s", c.Vault, c.Refresh)
	}
	var names []string
	for _, g := range c.Grants {
		names = append(names, g.Name)
	}
	if !slices.Equal(names, []string{"main", "a", "b"}) {
		t.Errorf("grants: %v", names)
	}
	if c.Providers["eu"].Mount != "" {
		t.Errorf("a provider's mount is not left to the identity: %+v", c.Providers["eu"])
	}
	if want := "conf.d/50-typo.yml: is not read: the name of a configuration file ends in .yaml"; warnings != want {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

func TestGatesCanBeTurnedOff(t *testing.T) {
	c, _, problems := load(t, one(valid+"docker: {plugin: '', cdi_dir: \"\", data_root: ''}"))
	if want := (config.Docker{Host: "unix:///var/run/docker.sock", PluginDir: "/run/docker/plugins"}); problems != "" || c.Docker != want {
		t.Errorf("%+v, %s", c.Docker, problems)
	}
}

func TestKeysOfABootCache(t *testing.T) {
	for id, key := range map[string]string{
		"arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab": "aws-kms",
		"arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/hosts/quaymaster":        "aws-kms",
		"arn:aws:kms:eu-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab": "aws-kms",
		"alias/quaymaster":                                                          "aws-kms",
		"https://kv.vault.azure.net/keys/q":                                         "azure-key",
		"https://hsm.managedhsm.azure.net/keys/q":                                   "azure-key",
		"https://kv.vault.azure.net/keys/q/78deebed173b48e48f55abf87ed4cf71":        "azure-key",
		"projects/shop/locations/europe-west1/keyRings/hosts/cryptoKeys/quaymaster": "gcp-kms",
		"projects/example.com:shop/locations/global/keyRings/hosts/cryptoKeys/q_1":  "gcp-kms",
	} {
		c, warnings, problems := load(t, one(cached+fmt.Sprintf("boot_cache: {key: %s, key_id: %q}", key, id)))
		if problems != "" || warnings != "" || c.BootCache != (config.BootCache{Key: key, KeyID: id}) || !c.Grants[0].BootCache {
			t.Errorf("%s: %+v, %s%s", id, c.BootCache, problems, warnings)
		}
	}
	if _, _, problems := load(t, one(cached+"boot_cache: {key: systemd-creds}")); problems != "" {
		t.Error(problems)
	}
	_, warnings, problems := load(t, one(valid+"boot_cache: {key: systemd-creds}"))
	if want := "q.yaml:4:1: boot_cache: no grant has boot_cache: true, so nothing will be kept"; problems != "" || warnings != want {
		t.Errorf("without a grant: %s, warnings %s", problems, warnings)
	}
}

// TestProfilesAreLabels: the labels that a profile stands for are read as it
// was meant.
func TestProfilesAreLabels(t *testing.T) {
	wants, err := workload.ParseLabels(full(t).ProfileLabels()["shop-db"], workload.Selectors{"compose.service": "db"})
	if err != nil {
		t.Fatal(err)
	}
	password, store, user := wants.Items[0], wants.Items[1], wants.Items[2]
	if password.Ref.String() != "vault:kv/shop/db#password" || password.Format.Kind != workload.FormatRaw || password.Refresh != 15*time.Second || !password.Optional {
		t.Errorf("password: %+v", password)
	}
	if store.Name != "tls.store" || store.Format.Kind != workload.FormatJKS || store.Password.String() != "vault:kv/shop/db#keystore" || store.Optional {
		t.Errorf("keystore: %+v", store)
	}
	if user.Kind != workload.Variable || user.Name != "DB_USER" || !user.Optional {
		t.Errorf("variable: %+v", user)
	}
	if wants.Path != "/etc/shop" || wants.Mode != 0o440 || *wants.Owner != (workload.User{UID: 999, GID: 999}) ||
		wants.OnRotate != (workload.Strategy{Kind: workload.StrategySignal, Signal: "HUP"}) {
		t.Errorf("%+v", wants)
	}
}

func TestNoGrantsIsAWarning(t *testing.T) {
	for _, text := range []string{"vault: {address: https://v, role: r}\n", "vault: {address: https://v, role: r}\ngrants: []\n"} {
		_, warnings, problems := load(t, map[string]string{"q.yaml": text})
		if problems != "" || !strings.HasSuffix(warnings, ": no grants: every labelled container will be refused") {
			t.Errorf("%q: problems %q, warnings %q", text, problems, warnings)
		}
	}
}

func TestProblemsAreForMachinesToo(t *testing.T) {
	dir := write(t, map[string]string{"q.yaml": "vault: {adress: https://v, role: r}\n"})
	_, _, err := config.Load(filepath.Join(dir, "q.yaml"))
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%T is not Problems: %v", err, err)
	}
	got, err := json.Marshal(problems)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"file":"` + dir + `/q.yaml","line":1,"column":9,"key":"vault.adress","message":"unknown key \"adress\"; did you mean \"address\"?"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzLoad: no text makes Load panic, and what it accepts has the limits that
// the rest relies on.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	for _, bad := range badFiles {
		f.Add(bad.files["q.yaml"])
	}
	dir := f.TempDir()
	path := filepath.Join(dir, "q.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := config.Load(path, workload.CheckLabels)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a word")
			}
			return
		}
		if len(c.Vaults()) == 0 || c.GateTimeout < time.Second || c.Refresh < time.Second || c.MaxStale < 0 {
			t.Errorf("accepted: %+v", c)
		}
	})
}
