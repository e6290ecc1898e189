package vaultclient_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vault is a server that answers with handler, and a client for it.
func vault(t *testing.T, handler http.HandlerFunc) *vaultclient.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return client(t, vaultclient.Config{Address: server.URL})
}

func client(t *testing.T, config vaultclient.Config) *vaultclient.Client {
	t.Helper()
	c, err := vaultclient.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestNewRefuses(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, config := range map[string]vaultclient.Config{
		"vault.address is empty":                                                                            {},
		`"vault.internal:8200": write it as https://host:port`:                                              {Address: "vault.internal:8200"},
		`"vault.internal": write it as https://host:port`:                                                   {Address: "vault.internal"},
		`"unix:///run/vault.sock": write it as https://host:port`:                                           {Address: "unix:///run/vault.sock"},
		`"https://": write it as https://host:port`:                                                         {Address: "https://"},
		`only scheme, host, port and path`:                                                                  {Address: "https://user:hunter2@vault.internal"},
		`"https://vault.internal?a=b": only scheme, host, port and path`:                                    {Address: "https://vault.internal?a=b"},
		`"http://vault.internal:8200": tokens would cross the network to vault.internal:8200 in clear text`: {Address: "http://vault.internal:8200"},
		`vault.ca_file "/does/not/exist.pem"`:                                                               {Address: "https://v", CAFile: "/does/not/exist.pem"},
		`vault.ca_file "` + notPEM + `"`:                                                                    {Address: "https://v", CAFile: notPEM},
	} {
		_, err := vaultclient.New(config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %s", config, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestNewRefusesUncheckedCertificates(t *testing.T) {
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	if _, err := vaultclient.New(vaultclient.Config{Address: "https://v"}); err == nil || !strings.Contains(err.Error(), "VAULT_SKIP_VERIFY") {
		t.Errorf("%v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("VAULT_ADDR", "https://from-environment:8200")
	t.Setenv("VAULT_NAMESPACE", "team-env")
	t.Setenv("VAULT_AGENT_ADDR", "https://not-this-one:8200")
	t.Setenv("VAULT_MAX_RETRIES", "7")
	fromEnvironment := client(t, vaultclient.Config{})
	if fromEnvironment.Address() != "https://from-environment:8200" || fromEnvironment.Namespace() != "team-env" {
		t.Errorf("%s, %s", fromEnvironment.Address(), fromEnvironment.Namespace())
	}
	api := fromEnvironment.Anonymous()
	if api.Address() != "https://from-environment:8200" || api.MaxRetries() != 0 || api.ClientTimeout() != vaultclient.DefaultTimeout {
		t.Errorf("%s, %d retries, %s", api.Address(), api.MaxRetries(), api.ClientTimeout())
	}
	explicit := client(t, vaultclient.Config{Address: "https://explicit", Namespace: "team-a", Timeout: time.Second})
	if explicit.Address() != "https://explicit" || explicit.Namespace() != "team-a" || explicit.Anonymous().ClientTimeout() != time.Second {
		t.Errorf("%s, %s", explicit.Address(), explicit.Namespace())
	}
}

func TestTokensAreNeverStatic(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "static-token")
	t.Setenv("VAULT_WRAP_TTL", "5m")
	t.Setenv("VAULT_NAMESPACE", "")
	var mu sync.Mutex
	seen := map[string]int{}
	c := vault(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen["token "+r.Header.Get("X-Vault-Token")]++
		seen["wrap "+r.Header.Get("X-Vault-Wrap-TTL")]++
		w.Write([]byte(`{"data":{"a":"b"}}`))
	})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := c.With(secret.NewValue([]byte("hvs.one"))).Logical().ReadWithContext(t.Context(), "kv/a"); err != nil {
				t.Error(err)
			}
			if _, err := c.Anonymous().Logical().WriteWithContext(t.Context(), "auth/aws/login", nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if seen["token hvs.one"] != 20 || seen["token "] != 20 || seen["wrap "] != 40 {
		t.Errorf("%v", seen)
	}
}

// writeCA writes the certificate of a test server to a file.
func writeCA(t *testing.T, server *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
