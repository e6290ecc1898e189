package vaultsim

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// Vault is a server's whole state. It may be used by several goroutines, and
// every switch changed while it serves.
type Vault struct {
	cloudsim.Faults   // by Vault's path: "kv/data/shop", without /v1/
	cloudsim.Requests // operation "read", "update" or "delete", and Vault's path

	env       *cloudsim.Environment
	rootToken string

	mu       sync.Mutex
	sealed   bool
	tokens   map[string]*token // by client token
	policies map[string][]string
	mounts   map[string]*mount // by path with its trailing slash
	logins   map[string]*awsAuth
	entities map[string]string // principal's unique ID → entity ID
}

// New returns a Vault that is unsealed and empty.
func New(env *cloudsim.Environment) *Vault {
	v := &Vault{
		env: env, tokens: map[string]*token{}, policies: map[string][]string{},
		mounts: map[string]*mount{}, logins: map[string]*awsAuth{}, entities: map[string]string{},
	}
	v.rootToken = v.newToken("auth/token/root", "root", []string{"root"}).id
	return v
}

// RootToken may do everything and never expires, unless it is revoked.
func (v *Vault) RootToken() string { return v.rootToken }

// SetSealed seals or unseals the server. While sealed it answers 503.
func (v *Vault) SetSealed(sealed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sealed = sealed
}

// RevokeTokens ends all tokens but the root token, and says how many.
func (v *Vault) RevokeTokens() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := len(v.tokens)
	for id := range v.tokens {
		if id != v.rootToken {
			delete(v.tokens, id)
		}
	}
	return before - len(v.tokens)
}

// PutPolicy creates or replaces a policy: the paths that it allows.
func (v *Vault) PutPolicy(name string, paths ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.policies[name] = paths
}

// MountKV mounts a key-value secrets engine of version 1 or 2.
func (v *Vault) MountKV(path string, version int) error {
	path = strings.Trim(path, "/") + "/"
	if version != 1 && version != 2 {
		return fmt.Errorf("mounting kv at %s: there is no version %d", path, version)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for other := range v.mounts {
		if strings.HasPrefix(path, other) || strings.HasPrefix(other, path) {
			return fmt.Errorf("mounting kv at %s: %s is in the way", path, other)
		}
	}
	v.mounts[path] = &mount{path: path, version: version, id: v.env.UUID(), secrets: map[string]*history{}}
	return nil
}

// PutSecret writes a secret and returns the number of its new version; version
// 1 of the engine keeps one only and numbers it 0.
func (v *Vault) PutSecret(mountPath, name string, fields map[string]any) (version int, err error) {
	mountPath = strings.Trim(mountPath, "/") + "/"
	v.mu.Lock()
	defer v.mu.Unlock()
	m, found := v.mounts[mountPath]
	if !found {
		return 0, fmt.Errorf("writing secret %s: nothing is mounted at %s", name, mountPath)
	}
	return m.put(name, fields, v.env.Now()), nil
}

// ServeHTTP implements http.Handler.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, isAPI := strings.CutPrefix(r.URL.Path, "/v1/")
	v.Record(operation(r), path)
	if v.Strike(w, r, path) {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	if !isAPI {
		respond(w, nil, notFound(""))
		return
	}
	if path == "sys/health" {
		v.respondHealth(w, r.URL.Query())
		return
	}
	answered, err := v.answer(w, r, path)
	if answered != nil {
		answered.RequestID = v.env.UUID()
	}
	respond(w, answered, err)
}

func (v *Vault) answer(w http.ResponseWriter, r *http.Request, path string) (*answer, error) {
	q, err := newQuestion(w, r, path)
	if err != nil {
		return nil, err
	}
	if v.isSealed() {
		return nil, errSealed
	}
	if auth := v.loginAt(path); auth != nil {
		return v.login(r.Context(), auth, q)
	}
	return v.authorized(q)
}

func (v *Vault) isSealed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.sealed
}

func (v *Vault) loginAt(path string) *awsAuth {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.logins[path]
}

// authorized answers what needs a token.
func (v *Vault) authorized(q question) (*answer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if q.token == "" {
		return nil, errNoToken
	}
	t := v.living(q.token)
	if t == nil {
		return nil, errInvalidToken
	}
	if below, is := strings.CutPrefix(q.path, "sys/internal/ui/mounts/"); is && q.operation == "read" {
		return v.describeMount(t, below)
	}
	if own := v.ownToken(q); own != nil {
		return own(t, q)
	}
	if !v.allowed(t.policies, q.path) {
		return nil, errDenied
	}
	if m := v.mountOf(q.path); m != nil {
		return m.answer(q, v.env.Now())
	}
	return nil, notFound(fmt.Sprintf("no handler for route %q. route entry not found.", q.path))
}
