package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/config"
)

// odd is a configuration whose values are easily spoilt on their way through
// another text.
const odd = `identity: gcp
gcp: {login: 'iam'}
vault:
  address: "https://vault.internal:8200"
  role: "yes"
  rate: 0100
  login_spread: 1m30s
  revoke_on_shutdown: True
grants:
  - name: "a: {b}"
    workloads: {label.build: 0x10, label.version: 1.10, label.text: "tab and \"quote\" and ü # no comment"}
    secrets:
      - vault:kv/shop/{{compose.service}}/**
      - "vault:pki/issue/timeline?common_name=*.prod.internal&ttl=24h"
profiles:
  shop-db: {secrets: {password: "vault:kv/shop/db#password"}, mode: 0440, optional: [password], on_rotate: signal:HUP}
docker: {plugin: "", cdi_dir: ""}
`

// TestALayerSaysTheSame: what is read as a layer and written again means what
// the text meant.
func TestALayerSaysTheSame(t *testing.T) {
	written := filepath.Join(t.TempDir(), "quaymaster.yaml")
	put(t, written, odd)
	want, _, err := config.Load(written)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := config.ReadLayer(config.Text{Origin: "somewhere", Data: []byte(odd)})
	if err != nil {
		t.Fatal(err)
	}
	var again strings.Builder
	for _, key := range slices.Sorted(maps.Keys(layer)) {
		again.WriteString(key + ":" + layer[key].Lines() + "\n")
	}
	empty := filepath.Join(t.TempDir(), "quaymaster.yaml")
	put(t, empty, "")
	extra := config.Text{Origin: filepath.Join(filepath.Dir(empty), "conf.d", "00-x.yaml"), Data: []byte(again.String())}
	got, warnings, err := config.LoadWith(empty, extra)
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v\n%s\n%+v\n%+v", err, warnings, again.String(), got, want)
	}
}

// TestGivenAndLoadWith look past the file that the text stands for.
func TestGivenAndLoadWith(t *testing.T) {
	main := filepath.Join(t.TempDir(), "quaymaster.yaml")
	own := filepath.Join(filepath.Dir(main), "conf.d", "50-own.yaml")
	put(t, main, "identity: aws\nvault: {address: https://vault.internal:8200, role: r}\n")
	put(t, own, "nonsense: 1\nrefresh: 2m\n")
	put(t, filepath.Join(filepath.Dir(own), "90-last.yaml"), "max_stale: 2h\ngrants: [{name: z, workloads: {name: z}, secrets: [\"vault:z\"]}]\n")
	given, identity := config.Given(main, own)
	if keys := slices.Sorted(maps.Keys(given)); !slices.Equal(keys, []string{"grants", "identity", "max_stale", "vault"}) || identity != "aws" || given["vault"].Line != 2 {
		t.Errorf("%v, %s", given, identity)
	}
	c, _, err := config.LoadWith(main, config.Text{Origin: own, Data: []byte("max_stale: 3h\ngrants: [{name: a, workloads: {name: a}, secrets: [\"vault:a\"]}]\n")})
	if err != nil || c.MaxStale.Hours() != 2 || c.Grants[0].Name != "a" || c.Grants[1].Name != "z" {
		t.Errorf("%+v, %v", c, err)
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
