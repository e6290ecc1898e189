package azuresim

import (
	"cmp"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// VaultRead is the operation under which a Cloud counts the requests that a
// vault was sent, other than those that it answers with its challenge.
const VaultRead = "read a secret"

// Vault is one Key Vault. It may be used by several goroutines, and every
// switch changed while it serves.
type Vault struct {
	tenant  *Tenant
	name    string
	suffix  string
	secrets map[string][]storedSecret  // by name in lower case; the last is the current version
	keys    map[string][]*storedKey    // by name in lower case; the last is the current version
	grants  map[string]map[string]bool // who may read which secrets, by principal ID; "" is every secret
	users   map[string]bool            // who may wrap and unwrap with all keys, by principal ID
	access  AccessModel
	network Network
}

// VaultSecret is one version of a secret as somebody stores it.
type VaultSecret struct {
	Value, ContentType string
	Disabled           bool
	NotBefore, Expires time.Time // zero: no such time
	Managed            bool      // it backs a certificate of the vault's
}

type storedSecret struct {
	VaultSecret
	name, version string
	created       time.Time
}

// AccessModel is how a vault decides who may read. The decisions are the same,
// the refusals read otherwise.
type AccessModel int

// The two that Key Vault has.
const (
	ByRole AccessModel = iota
	ByPolicy
)

// Network says from where a vault takes requests.
type Network int

// What a vault's network settings come to for this host.
const (
	Open       Network = iota
	Firewalled         // the host's address is not on the list
	Private            // there is no public access, and the host has no private endpoint
)

// AddVault creates a vault below suffix; empty: where its cloud has them.
func (t *Tenant) AddVault(name, suffix string) *Vault {
	v := &Vault{tenant: t, name: name, suffix: cmp.Or(suffix, t.cloud.place.vaults),
		secrets: map[string][]storedSecret{}, keys: map[string][]*storedKey{}, users: map[string]bool{}, grants: map[string]map[string]bool{}}
	t.cloud.mu.Lock()
	defer t.cloud.mu.Unlock()
	t.cloud.vaults[v.Host()] = v
	return v
}

func (c *Cloud) vault(host string) (*Vault, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, found := c.vaults[strings.ToLower(host)]
	return v, found
}

// Host is the vault's host name.
func (v *Vault) Host() string { return strings.ToLower(v.name) + "." + v.suffix }

// Put stores a new version of a secret, which becomes the current one.
func (v *Vault) Put(name string, s VaultSecret) (version string) {
	version = v.tenant.cloud.env.Text(cloudsim.Hex, 32)
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	key := strings.ToLower(name)
	v.secrets[key] = append(v.secrets[key], storedSecret{s, name, version, v.tenant.cloud.env.Now()})
	return version
}

// Delete deletes a secret, which could be recovered.
func (v *Vault) Delete(name string) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	delete(v.secrets, strings.ToLower(name))
}

// Grant lets a principal read some secrets; none named: all.
func (v *Vault) Grant(principalID string, names ...string) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	granted := map[string]bool{"": len(names) == 0}
	for _, name := range names {
		granted[strings.ToLower(name)] = true
	}
	v.grants[principalID] = granted
}

// SetAccess changes how the vault decides.
func (v *Vault) SetAccess(model AccessModel) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	v.access = model
}

// SetNetwork changes from where the vault takes requests.
func (v *Vault) SetNetwork(network Network) {
	v.tenant.cloud.mu.Lock()
	defer v.tenant.cloud.mu.Unlock()
	v.network = network
}
