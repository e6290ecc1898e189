// Package config reads the host configuration, strictly.
//
// The configuration is one YAML file and the files of the directory conf.d
// beside it, read one after the other in lexical order. They add up to one
// Config: a scalar of a later file replaces that of an earlier one, grants are
// appended, providers are added. A grant or provider that is defined twice is
// an error, because neither file could be read without the other.
//
// Reading has three steps, and what goes wrong in each becomes a Problem with
// its place: a file is trusted only if nobody but root and the agent's user
// can change it, since whoever writes grants can read every secret; its YAML
// is read key by key, and a key that is not known is an error; the whole is
// then checked for sense. All problems are reported together, so that one run
// of validate is enough to mend a file.
//
// Only the plain part of YAML is understood: mappings, lists, scalars. Anchors,
// tags and merge keys would let a file say something other than it seems to.
package config

import (
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Config is the whole host configuration. The yaml tag of a field is its key;
// docs/config.schema.json describes the same keys for editors.
type Config struct {
	Identity  string              `yaml:"identity"`
	Vault     Vault               `yaml:"vault"`
	Providers map[string]Provider `yaml:"providers"` // by name; without the built-in one
	Grants    []Grant             `yaml:"grants"`
	Azure     Azure               `yaml:"azure"`
	GCP       GCP                 `yaml:"gcp"`
	Docker    Docker              `yaml:"docker"`
	Paths     Paths               `yaml:"paths"`
	Audit     Audit               `yaml:"audit"`

	// GateTimeout is how long Docker waits for the agent at a gate.
	GateTimeout time.Duration `yaml:"gate_timeout"`
	// Refresh is how often a held secret is read again.
	Refresh time.Duration `yaml:"refresh"`
	// MaxStale is how long a held secret may serve a start while its provider
	// is unavailable.
	MaxStale time.Duration `yaml:"max_stale"`

	RequireGate bool `yaml:"require_gate"` // stop a labelled container that came up without passing a gate
	AllowSwap   bool `yaml:"allow_swap"`   // run although secrets could reach a swap device

	Log Log `yaml:"log"`
}

// The identities.
const (
	IdentityAuto  = "auto" // that of the cloud that the host turns out to run in
	IdentityAWS   = "aws"
	IdentityAzure = "azure"
	IdentityGCP   = "gcp"
)

// Vault says where one Vault is and how to log in to it. The zero Vault means
// that there is none.
type Vault struct {
	Address  string `yaml:"address"`
	Role     string `yaml:"role"`
	Mount    string `yaml:"mount"`     // of the auth method, without auth/; empty: what the identity is called
	ServerID string `yaml:"server_id"` // what evidence must be made for: on AWS the server ID, on Azure the resource
	CAFile   string `yaml:"ca_file"`   // empty: the system's authorities

	// A certificate to show to Vault, where it asks for one: both or neither.
	ClientCertFile string `yaml:"client_cert_file"`
	ClientKeyFile  string `yaml:"client_key_file"`
	// LoginSpread delays the first login by a random part of itself, so that
	// hosts that boot together do not log in together.
	LoginSpread time.Duration `yaml:"login_spread"`

	Namespace string `yaml:"namespace"`
	STSRegion string `yaml:"sts_region"` // empty: us-east-1, as in Vault
}

// The provider types that this version knows, and the name of the provider
// that the vault block configures.
const (
	TypeVault    = "vault"
	BuiltinVault = "vault"
)

// Provider is one more place where secrets live.
type Provider struct {
	Type  string `yaml:"type"`
	Vault `yaml:",inline"`
}

// Grant gives the workloads that match every selector the secrets that match
// any pattern.
type Grant struct {
	Name      string            `yaml:"name"`
	Workloads map[string]string `yaml:"workloads"` // selector key → value with wildcards
	Secrets   []secret.Pattern  `yaml:"secrets"`
}

// Azure says which of a machine's identities to use.
type Azure struct {
	ClientID string `yaml:"client_id"` // of a user-assigned identity; empty: the system-assigned one
}

// GCP says how to log in.
type GCP struct {
	Login string `yaml:"login"` // gce, by the instance; iam, by its service account
}

// The ways to log in from GCP.
const (
	LoginGCE = "gce"
	LoginIAM = "iam"
)

// Docker says which engine the agent serves.
type Docker struct {
	Host string `yaml:"host"`
}

// Paths are the agent's own directories.
type Paths struct {
	Run   string `yaml:"run"`   // memory
	State string `yaml:"state"` // holds no secret
}

// Audit says where decisions are recorded.
type Audit struct {
	File string `yaml:"file"`
}

// Log says what the agent tells about itself.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// Default returns what holds where the files say nothing.
func Default() Config {
	return Config{
		Identity:    IdentityAuto,
		GCP:         GCP{Login: LoginGCE},
		Docker:      Docker{Host: "unix:///var/run/docker.sock"},
		Paths:       Paths{Run: "/run/quaymaster", State: "/var/lib/quaymaster"},
		Audit:       Audit{File: "/var/log/quaymaster/audit.jsonl"},
		GateTimeout: 30 * time.Second,
		Refresh:     time.Minute,
		MaxStale:    time.Hour,
		Log:         Log{Level: "info", Format: "text"},
	}
}

// Vaults returns every configured Vault by the name of its provider.
func (c Config) Vaults() map[string]Vault {
	vaults := map[string]Vault{}
	if c.Vault.Address != "" {
		vaults[BuiltinVault] = c.Vault
	}
	for name, provider := range c.Providers {
		if provider.Type == TypeVault {
			vaults[name] = provider.Vault
		}
	}
	return vaults
}

// smallest is what a newcomer is shown.
const smallest = `the smallest useful configuration is

vault: {address: https://vault.internal:8200, role: docker-host}
grants:
  - name: timeline
    workloads: {compose.project: shop, compose.service: timeline}
    secrets: ["vault:kv/shop/timeline/**"]`
