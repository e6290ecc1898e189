package azuresim

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// Cloud is one of Azure's clouds. It may be used by several goroutines.
type Cloud struct {
	cloudsim.Faults // by host and path, as in "management.azure.com/subscriptions/"
	// The operation is the HTTP method, the path is host and path; and
	// VaultRead with the host of a vault.
	cloudsim.Requests

	name  string
	place place
	env   *cloudsim.Environment
	key   *rsa.PrivateKey
	keyID string

	mu      sync.Mutex // also guards what the tenants and vaults hold
	tenants map[string]*Tenant
	vaults  map[string]*Vault // by host
}

// Tenant is one directory of Entra ID, and the subscriptions that trust it.
type Tenant struct {
	cloud        *Cloud
	id           string
	applications map[string]application // by client ID
	resources    map[string]resource    // by ID in lower case
}

// application is one that proves itself by a secret.
type application struct{ secret, objectID string }

// NewCloud returns a public cloud without tenants.
func NewCloud(env *cloudsim.Environment) (*Cloud, error) { return NewCloudCalled(Public, env) }

// NewCloudCalled returns a cloud without tenants.
func NewCloudCalled(name string, env *cloudsim.Environment) (*Cloud, error) {
	where, known := places[name]
	if !known {
		return nil, fmt.Errorf("there is no cloud %q", name)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making Entra's key: %w", err)
	}
	return &Cloud{name: name, place: where, env: env, key: key, keyID: env.Text(cloudsim.Alphanum, 27), tenants: map[string]*Tenant{}, vaults: map[string]*Vault{}}, nil
}

// AddTenant creates a tenant. An ID is a UUID.
func (c *Cloud) AddTenant(id string) *Tenant {
	tenant := &Tenant{cloud: c, id: id, applications: map[string]application{}, resources: map[string]resource{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tenants[id] = tenant
	return tenant
}

// AddApplication registers an application that may read the tenant's
// resources, as Vault's must.
func (t *Tenant) AddApplication(clientID, secret string) {
	added := application{secret: secret, objectID: t.cloud.env.UUID()}
	t.cloud.mu.Lock()
	defer t.cloud.mu.Unlock()
	t.applications[clientID] = added
}

func (c *Cloud) tenant(id string) (*Tenant, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tenant, found := c.tenants[id]
	return tenant, found
}

// ServeHTTP implements http.Handler for all Hosts.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host // it has no port
	}
	c.Record(r.Method, host+r.URL.Path)
	struck := c.Strike(w, r, host+r.URL.Path)
	vault, isVault := c.vault(host)
	if isVault && (struck || r.Header.Get("Authorization") != "") {
		c.Record(VaultRead, host)
	}
	if struck {
		return
	}
	switch {
	case host == c.place.entra:
		c.serveEntra(w, r)
	case host == c.place.resources:
		c.serveResources(w, r)
	case isVault:
		vault.serve(w, r)
	default:
		http.NotFound(w, r)
	}
}

// answer writes JSON.
func answer(w http.ResponseWriter, status int, content any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(content) // a client that went away needs no answer
}
