package vaultclient_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

func TestIgnoresNamespaces(t *testing.T) {
	for body, want := range map[string]bool{
		`{"version":"1.21.2","enterprise":false}`:        true,
		`{"version":"2.0.0","enterprise":false}`:         true,
		`{"version":"1.21.2+ent","enterprise":true}`:     false,
		`{"version":"1.13.1"}`:                           true,
		`{"version":"0.11.6"}`:                           true,
		`{"version":"1.13.1+ent.hsm"}`:                   false,
		`{"version":"2.4.1"}`:                            false, // a fork that has namespaces
		`{"version":"1.21.2","enterprise":false,"x":{}}`: true,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/sys/health" || r.Header.Get("X-Vault-Namespace") != "" || r.URL.Query().Get("standbyok") != "true" {
				t.Errorf("%s %s in namespace %q", r.Method, r.URL, r.Header.Get("X-Vault-Namespace"))
			}
			io.WriteString(w, body)
		}))
		t.Cleanup(server.Close)
		c := client(t, vaultclient.Config{Address: server.URL, Namespace: "team-a"})
		if got, err := c.IgnoresNamespaces(t.Context()); got != want || err != nil {
			t.Errorf("%s: %v, %v", body, got, err)
		}
		if c.Anonymous().Namespace() != "team-a" {
			t.Error("the question changed the client's namespace")
		}
	}
}

// Without a namespace there is nothing to ask, and so no request that can fail.
func TestIgnoresNamespacesWithoutOne(t *testing.T) {
	t.Setenv("VAULT_NAMESPACE", "")
	c := vault(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) })
	if ignored, err := c.IgnoresNamespaces(t.Context()); ignored || err != nil {
		t.Errorf("%v, %v", ignored, err)
	}
}

func TestIgnoresNamespacesCannotTell(t *testing.T) {
	for body, want := range map[string]string{"<h1>Hello</h1>": "the answer is not Vault's", "": "cannot be reached"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
		t.Cleanup(server.Close)
		_, err := client(t, vaultclient.Config{Address: server.URL, Namespace: "team-a"}).IgnoresNamespaces(t.Context())
		if failure := vaultclient.Classify(err); failure == nil || failure.Decided() || !strings.Contains(failure.Error(), want) {
			t.Errorf("%q: %v", body, err)
		}
	}
}
