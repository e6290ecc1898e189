//go:build integration

package vault_test

import (
	"errors"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/vault"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// TestPermission: the path is that of Vault's API, the capability the one that
// reading takes, and nothing is read.
func TestPermission(t *testing.T) {
	r := newReal(t)
	if _, err := r.EnablePKI(t.Context(), "pki"); err != nil {
		t.Fatal(err)
	}
	if err := r.WritePKIRole(t.Context(), realvault.PKIRole{Mount: "pki", Name: "web"}); err != nil {
		t.Fatal(err)
	}
	r.allow(`path "pki/issue/*" { capabilities = ["read"] }` + "\n" + `path "kv/data/other/one" { capabilities = ["read"] }`)
	for text, want := range map[string]vault.Permission{
		"vault:kv/shop/db":                {Path: "kv/data/shop/db", Capability: "read", Allowed: true},
		"vault:old/shop/db":               {Path: "old/shop/db", Capability: "read", Allowed: true},
		"vault:kv/shop/":                  {Path: "kv/data/shop/", Capability: "read", Allowed: true},
		"vault:kv/other/":                 {Path: "kv/data/other/", Capability: "read"}, // of which one may be read
		"vault:kv/other/one":              {Path: "kv/data/other/one", Capability: "read", Allowed: true},
		"vault:kv/third":                  {Path: "kv/data/third", Capability: "read"},
		"vault:pki/issue/web":             {Path: "pki/issue/web", Capability: "update", Issues: true}, // read is no help
		"vault:kv/shop/first?unwrap=true": {Path: "kv/data/shop/first", Capability: "read", Allowed: true, Issues: true},
		"vault:pki/cert/ca":               {Path: "pki/cert/ca", Capability: "read"},
	} {
		ref, err := secret.ParseRef(text)
		if err != nil {
			ref = secret.Ref{Provider: "vault", Path: text[len("vault:"):]} // the beginning of many
		}
		if got, err := r.provider.Permission(t.Context(), ref); got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if _, err := r.provider.Permission(t.Context(), secret.Ref{Provider: "vault", Path: "none/x"}); !errors.Is(err, providers.ErrDenied) {
		t.Errorf("where nothing is mounted: %v", err)
	}
	if reads, err := r.Requests("kv/data/shop/db", "read"); reads != 0 || err != nil {
		t.Errorf("it was read %d times, %v", reads, err)
	}
}
