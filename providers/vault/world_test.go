package vault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/vault"
)

// accessor is that of every token of tokens.
const accessor = "accessor-of-the-host"

// mark is in every value and is looked for in every error.
const mark = "s3cr3t"

// tokens is a token source whose tokens the test chooses: it hands out the
// first, and forgets it when that was refused.
type tokens struct {
	mu      sync.Mutex
	list    []string
	refused int   // how often it was told of a refusal
	fail    error // what Token returns
	unsure  error // what Refused returns

	superseded map[string]time.Time // by accessor, when it ends
}

func (s *tokens) Token(context.Context) (auth.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return auth.Token{}, s.fail
	}
	return auth.Token{Value: secret.NewValue([]byte(s.list[0])), Accessor: accessor}, nil
}

func (s *tokens) Refused(_ context.Context, token auth.Token) (retry bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
	if s.unsure != nil {
		return false, s.unsure
	}
	if len(s.list) == 1 || string(token.Value.Reveal()) != s.list[0] { // to compare
		return false, nil
	}
	s.list = s.list[1:]
	return true, nil
}

func (s *tokens) Superseded(accessor string) (ends time.Time, superseded bool) {
	ends, superseded = s.superseded[accessor]
	return ends, superseded
}

// world is a stand-in for Vault and a provider that reads from it.
type world struct {
	*vaultsim.Vault
	t        *testing.T
	address  string
	client   *vaultclient.Client
	tokens   *tokens
	provider *vault.Provider
	now      time.Time
	reads    atomic.Int64 // requests for secrets

	mu sync.Mutex // guards Vault, which replace changes
}

// newWorld mounts version 2 of the key-value engine at kv and version 1 at
// old. The provider's token may read what is below shop in both.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, tokens: &tokens{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.replace(map[string]int{"kv": 2, "old": 1}, "kv/data/shop/*", "old/shop/*")
	server, err := cloudsim.Start(w, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	w.address = server.URL()
	w.client, w.provider = newProvider(t, vaultclient.Config{Address: w.address}, w.tokens, func() time.Time { return w.now })
	return w
}

func newProvider(t *testing.T, config vaultclient.Config, source auth.TokenSource, now func() time.Time) (*vaultclient.Client, *vault.Provider) {
	t.Helper()
	client, err := vaultclient.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client, vault.New(vault.Options{Client: client, Tokens: source, Now: now})
}

// ServeHTTP lets the Vault of the moment answer.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	now := w.Vault
	w.mu.Unlock()
	if isRead(r) {
		w.reads.Add(1)
	}
	now.ServeHTTP(rw, r)
}

// replace puts a new Vault with these mounts and this policy behind the
// address, and gives the provider a token of it.
func (w *world) replace(mounts map[string]int, policy ...string) {
	w.t.Helper()
	v := vaultsim.New(cloudsim.NewEnvironment(nil, nil))
	for path, version := range mounts {
		if err := v.MountKV(path, version); err != nil {
			w.t.Fatal(err)
		}
	}
	v.PutPolicy("shop", policy...)
	w.mu.Lock()
	w.Vault = v
	w.mu.Unlock()
	w.tokens.list = []string{v.IssueToken(time.Hour, "shop")}
}

// put writes a secret with one field.
func (w *world) put(mount, name, value string) {
	w.t.Helper()
	if _, err := w.PutSecret(mount, name, map[string]any{"password": mark + value}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) fetch(ref string) (secret.Secret, error) {
	w.t.Helper()
	return w.provider.Fetch(w.t.Context(), parse(w.t, ref))
}

// wants fails unless the field password of ref is value.
func (w *world) wants(ref, value string) {
	w.t.Helper()
	found, err := w.fetch(ref)
	if err != nil {
		w.t.Error(err)
		return
	}
	if got := string(found.Fields["password"].Reveal()); got != mark+value { // to compare
		w.t.Errorf("%s is %q", ref, got)
	}
}

// fails checks what every error must be, and that this one says each of texts.
func (w *world) fails(ref string, kind error, texts ...string) {
	w.t.Helper()
	_, err := w.fetch(ref)
	if err == nil {
		w.t.Errorf("%s: no error", ref)
		return
	}
	_, name, _ := strings.Cut(parse(w.t, ref).Path, "/") // below the mount: between them version 2 has data
	checkError(w.t, err, kind, append(texts, w.address, name)...)
	for _, token := range append(w.tokens.list, "hvs.") {
		if strings.Contains(err.Error(), token) {
			w.t.Errorf("a token is in: %v", err)
		}
	}
}

// checkError: an error wraps exactly one of the providers' errors and holds
// no value.
func checkError(t *testing.T, err, kind error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %v", kind)
		return
	}
	for _, other := range []error{providers.ErrInvalid, providers.ErrNotFound, providers.ErrDenied, providers.ErrUnavailable} {
		if errors.Is(err, other) != (other == kind) {
			t.Errorf("is %q: %v, of: %v", other, other != kind, err)
		}
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	if strings.Contains(err.Error(), mark) {
		t.Errorf("a value is in: %v", err)
	}
}

func parse(t *testing.T, text string) secret.Ref {
	t.Helper()
	ref, err := secret.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// texts are the fields of a secret as a container would get them.
func texts(s secret.Secret) map[string]string {
	out := map[string]string{}
	for name, value := range s.Fields {
		out[name] = string(value.Reveal()) // to compare
	}
	return out
}
