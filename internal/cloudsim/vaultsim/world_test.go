package vaultsim_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
)

// world is a Vault, the AWS account whose roles log in to it, and their clock.
type world struct {
	vault   *vaultsim.Vault
	url     string
	account *awssim.Account
	sts     *awssim.Service

	mu sync.Mutex
	at time.Time
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) move(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(by)
}

// newWorld has a role docker-host, whose tokens live for ten minutes and for
// an hour at most, and a secret that they may read on a mount of each version.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	env := cloudsim.NewEnvironment(w.now, nil)
	w.account = awssim.NewAccount(accountID, env)
	w.account.AddRole("/", "docker-host")
	w.sts = awssim.NewSTS(w.account, "us-east-1")
	w.vault = vaultsim.New(env)
	w.vault.EnableAWS(vaultsim.AWSAuth{Mount: "aws", STS: w.start(t, w.sts), ServerID: serverID, Metadata: []string{"canonical_arn", "client_arn"}})
	w.url = w.start(t, w.vault)
	w.vault.PutPolicy("shop", "kv/data/shop/*", "old/shop/*")
	w.putRole(t, vaultsim.IAMRole{Name: "docker-host", Principal: "arn:aws:iam::" + accountID + ":role/docker-host", TTL: 10 * time.Minute, MaxTTL: time.Hour})
	for mount, version := range map[string]int{"kv": 2, "old": 1} {
		if err := w.vault.MountKV(mount, version); err != nil {
			t.Fatal(err)
		}
		if _, err := w.vault.PutSecret(mount, "shop/db", map[string]any{"password": "one"}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) start(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	server, err := cloudsim.Start(handler, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

func (w *world) putRole(t *testing.T, role vaultsim.IAMRole) {
	t.Helper()
	role.Mount, role.Policies = "aws", []string{"shop"}
	if err := w.vault.PutRole(role); err != nil {
		t.Fatal(err)
	}
}

// client is the official client with a token, which may be empty. It makes one
// attempt and keeps no connection.
func (w *world) client(t *testing.T, token string) *api.Client {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: w.url, MaxRetries: 0,
		HttpClient: &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}})
	if err != nil {
		t.Fatal(err)
	}
	client.ClearNamespace() // NewClient has read VAULT_NAMESPACE
	client.SetToken(token)  // and VAULT_TOKEN
	return client
}

// login logs in as docker-host and returns the answer and a client that uses it.
func (w *world) login(t *testing.T, role string) (*api.Secret, *api.Client) {
	t.Helper()
	body := loginBody(t, role, sessionKeys(t, w.account, "docker-host"), w.now(), nil)
	secret, err := w.client(t, "").Logical().WriteWithContext(t.Context(), "auth/aws/login", body)
	if err != nil {
		t.Fatal(err)
	}
	return secret, w.client(t, secret.Auth.ClientToken)
}

// status is the HTTP status of an error; zero: it is none of the server's.
func status(err error) int {
	if answer, ok := errors.AsType[*api.ResponseError](err); ok {
		return answer.StatusCode
	}
	return 0
}
