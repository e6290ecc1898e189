//go:build integration

package realvault

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

var fields = map[string]any{"password": "correct horse"}

// password reads the secret at path as a client without the helpers would.
func password(t *testing.T, v *Vault, path string) any {
	t.Helper()
	got, err := v.Client().Logical().ReadWithContext(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if data, ok := got.Data["data"].(map[string]any); ok { // KV v2
		return data["password"]
	}
	return got.Data["password"]
}

// wantPassword fails unless the secret is at all of paths.
func wantPassword(t *testing.T, v *Vault, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if got := password(t, v, path); got != fields["password"] {
			t.Errorf("%s has password %v", path, got)
		}
	}
}

// withSecrets starts a Vault with one secret on KV v1 and one on KV v2.
func withSecrets(t *testing.T) *Vault {
	t.Helper()
	v := ForTest(t, Options{})
	for version, mount := range map[int]string{1: "old", 2: "new"} {
		if err := v.MountKV(t.Context(), mount, version); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.PutKV1(t.Context(), "old", "shop/db", fields); err != nil {
		t.Fatal(err)
	}
	if version, err := v.PutKV2(t.Context(), "new", "shop/db", fields); err != nil || version != 1 {
		t.Fatalf("wrote version %d, %v, want 1", version, err)
	}
	return v
}

func TestReadsAreCounted(t *testing.T) {
	v := withSecrets(t)
	wantPassword(t, v, "old/shop/db", "new/data/shop/db", "new/data/shop/db")
	for path, want := range map[string]int{"old/shop/db": 1, "new/data/shop/db": 2} {
		if got, err := v.Requests(path, "read"); err != nil || got != want {
			t.Errorf("%s was read %d times, %v, want %d", path, got, err, want)
		}
	}
}

func TestSealAndUnseal(t *testing.T) {
	v := withSecrets(t)
	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := v.Client().Logical().ReadWithContext(t.Context(), "old/shop/db")
	var answer *api.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a sealed Vault answered %v, want 503", err)
	}
	if err := v.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantPassword(t, v, "old/shop/db", "new/data/shop/db")
}

func TestKilledVaultComesBack(t *testing.T) {
	v := withSecrets(t)
	wantPassword(t, v, "old/shop/db")
	address := v.Address()
	if err := v.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Client().Logical().ReadWithContext(t.Context(), "old/shop/db"); err == nil {
		t.Fatal("a killed Vault answered")
	}
	if err := v.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v.Address() != address {
		t.Errorf("address changed from %s to %s", address, v.Address())
	}
	wantPassword(t, v, "old/shop/db", "new/data/shop/db")
	if got, err := v.Requests("old/shop/db", "read"); err != nil || got != 2 {
		t.Errorf("counted %d reads over the restart, %v, want 2", got, err)
	}
}

func TestTLS(t *testing.T) {
	v := ForTest(t, Options{TLS: true})
	if !strings.HasPrefix(v.Address(), "https://") {
		t.Errorf("address is %s", v.Address())
	}
	pem, err := os.ReadFile(v.CAFile())
	if err != nil || !strings.Contains(string(pem), "BEGIN CERTIFICATE") {
		t.Errorf("CA file: %v", err)
	}
	stranger := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	if answer, err := stranger.Get(v.Address() + "/v1/sys/health"); err == nil {
		answer.Body.Close()
		t.Error("a client that does not know the CA trusted it")
	}
}

func TestAWSAuthIsConfigured(t *testing.T) {
	v := ForTest(t, Options{})
	auth := AWSAuth{Mount: "aws", STS: "http://127.0.0.1:1", IAM: "http://127.0.0.1:1", EC2: "http://127.0.0.1:1", ServerID: "vault.internal"}
	if err := v.EnableAWS(t.Context(), auth); err != nil {
		t.Fatal(err)
	}
	if err := v.WritePolicy(t.Context(), "shop", `path "kv/*" { capabilities = ["read"] }`); err != nil {
		t.Fatal(err)
	}
	role := IAMRole{Mount: "aws", Name: "docker-host", Principal: "arn:aws:iam::123456789012:role/docker-host",
		Policies: []string{"shop"}, TTL: time.Minute, MaxTTL: time.Hour}
	if err := v.WriteIAMRole(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	got, err := v.Client().Logical().ReadWithContext(t.Context(), "auth/aws/role/docker-host")
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{"token_ttl": "60", "token_max_ttl": "3600", "resolve_aws_unique_ids": "false"} {
		if is := fmt.Sprint(got.Data[setting]); is != want {
			t.Errorf("%s is %s, want %s", setting, is, want)
		}
	}
}
