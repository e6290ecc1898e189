package gcpsim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// CloudPlatform is the scope that lets an access token call every API.
const CloudPlatform = "https://www.googleapis.com/auth/cloud-platform"

// tokenLife is how long access tokens and identity tokens live.
const tokenLife = time.Hour

// ErrNoEntity says that the cloud has no such service account.
var ErrNoEntity = errors.New("no such entity")

// Cloud is everything that Google knows. It may be used by several goroutines.
// Keys come from the machine's own source of chance and differ in every run.
type Cloud struct {
	env *cloudsim.Environment

	mu        sync.Mutex
	keys      []*signer // Google's own, oldest first; the last one signs
	numbers   map[string]string
	accounts  map[string]*account // by email
	instances map[place]*instance
	tokens    map[string]access
	secrets   map[string]*stored // of Secret Manager, by resource name
	grants    map[grant]bool
	disabled  map[string]bool // projects that do not use Secret Manager
}

// account is a service account.
type account struct {
	project, email, id string
	key                *signer         // Google keeps it; signJwt uses it
	signs              bool            // may have JWTs signed in its own name
	lentTo             map[string]bool // emails of those who may act as it
}

// Instance is a virtual machine.
type Instance struct {
	Project, Zone, Name string // shop-prod, europe-west1-b, docker-1
	ServiceAccount      string // email; empty: none
	Scopes              []string
	Labels              map[string]string
	Group               string    // of the instance's zone; empty: none
	Created             time.Time // zero: now
	// Attributes are its custom metadata, such as user-data.
	Attributes map[string]string
}

type place struct{ project, zone, name string }

type instance struct {
	Instance
	id, status string
}

// access is what an access token stands for.
type access struct {
	email   string
	scopes  []string
	expires time.Time
}

// NewCloud returns a cloud without projects.
func NewCloud(env *cloudsim.Environment) *Cloud {
	c := &Cloud{env: env, numbers: map[string]string{}, accounts: map[string]*account{},
		instances: map[place]*instance{}, tokens: map[string]access{},
		secrets: map[string]*stored{}, grants: map[grant]bool{}, disabled: map[string]bool{}}
	c.RotateKey()
	return c
}

// RotateKey makes Google sign identity tokens with a new key. The one before
// stays published, those before that do not.
func (c *Cloud) RotateKey() {
	key := newSigner(c.env, "federated-signon.system.gserviceaccount.com")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, key)
	c.keys = c.keys[max(0, len(c.keys)-2):]
}

// AddServiceAccount creates a service account, or replaces it by one with
// another unique ID and key, and returns its email.
func (c *Cloud) AddServiceAccount(project, name string) (email string) {
	email = fmt.Sprintf("%s@%s.iam.gserviceaccount.com", name, project)
	made := &account{project: project, email: email, id: "1" + c.env.Text(cloudsim.Digits, 20), key: newSigner(c.env, email), lentTo: map[string]bool{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accounts[email] = made
	return email
}

// RemoveServiceAccount deletes a service account. Tokens that name it live on
// until they end, as Google's do.
func (c *Cloud) RemoveServiceAccount(email string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.accounts, email)
}

// AllowSigning lets a service account have JWTs signed in its own name, which
// roles/iam.serviceAccountTokenCreator on itself gives.
func (c *Cloud) AllowSigning(email string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.accounts[email]
	if !ok {
		return fmt.Errorf("letting %s sign: %w", email, ErrNoEntity)
	}
	found.signs = true
	return nil
}

// AllowImpersonation lets caller act as the service account target, which
// roles/iam.serviceAccountTokenCreator on target gives.
func (c *Cloud) AllowImpersonation(caller, target string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.accounts[target]
	if !ok {
		return fmt.Errorf("letting %s act as %s: %w", caller, target, ErrNoEntity)
	}
	found.lentTo[caller] = true
	return nil
}

// AddInstance creates an instance that runs, or replaces one of the same name
// by another, and returns its metadata server. Nil scopes are CloudPlatform.
func (c *Cloud) AddInstance(i Instance) *Metadata {
	if i.Scopes == nil {
		i.Scopes = []string{CloudPlatform}
	}
	if i.Created.IsZero() {
		i.Created = c.env.Now()
	}
	i.Attributes = maps.Clone(i.Attributes)
	made := &instance{Instance: i, id: "4" + c.env.Text(cloudsim.Digits, 18), status: "RUNNING"}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number(i.Project)
	c.instances[place{i.Project, i.Zone, i.Name}] = made
	return &Metadata{cloud: c, instance: made, lifetime: tokenLife}
}

// number is the project's number, which Google gives out, under the lock.
func (c *Cloud) number(project string) string {
	c.numbers[project] = cmp.Or(c.numbers[project], "8"+c.env.Text(cloudsim.Digits, 11))
	return c.numbers[project]
}

// lookUp finds a service account by its email or unique ID, under the lock.
func (c *Cloud) lookUp(emailOrID string) (*account, bool) {
	for _, a := range c.accounts {
		if a.email == emailOrID || a.id == emailOrID {
			return a, true
		}
	}
	return nil, false
}

// newAccess issues an access token, under the lock.
func (c *Cloud) newAccess(email string, scopes []string) string {
	token := "ya29." + c.env.Text(cloudsim.Alphanum+"-_", 160)
	c.tokens[token] = access{email: email, scopes: scopes, expires: c.env.Now().Add(tokenLife)}
	return token
}

// caller is whom the request's access token stands for, under the lock.
func (c *Cloud) caller(r *http.Request) (access, error) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	found, known := c.tokens[token]
	switch {
	case !known || !c.env.Now().Before(found.expires):
		return access{}, errUnauthenticated
	case !slices.Contains(found.scopes, CloudPlatform):
		return access{}, errScope
	}
	return found, nil
}

// RevokeTokens ends all access tokens of an account before their time.
func (c *Cloud) RevokeTokens(email string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.tokens, func(_ string, held access) bool { return held.email == email })
}
