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
	"cmp"
	"maps"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Config is the whole host configuration. The yaml tag of a field is its key;
// docs/config.schema.json describes the same keys for editors.
type Config struct {
	Identity string `yaml:"identity"`
	// AllowStaticIdentity lets Identity be one that is kept in a file, for a
	// developer's machine, which no cloud vouches for.
	AllowStaticIdentity bool           `yaml:"allow_static_identity"`
	StaticIdentity      StaticIdentity `yaml:"static_identity"`

	Vault     Vault               `yaml:"vault"`
	Providers map[string]Provider `yaml:"providers"` // by name; without the one of the vault block
	Grants    []Grant             `yaml:"grants"`
	Profiles  map[string]Profile  `yaml:"profiles"` // by name
	AWS       AWS                 `yaml:"aws"`
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
	// LateAttach gives a running container that passed no gate its files
	// afterwards.
	LateAttach bool `yaml:"late_attach"`
	// ExecVariables gives the variables to what is started in a container
	// later, too: docker exec and HEALTHCHECK.
	ExecVariables bool `yaml:"exec_variables"`
	// StartFailed starts a container again that failed to start because the
	// agent or a store was away.
	StartFailed bool      `yaml:"start_failed"`
	BootCache   BootCache `yaml:"boot_cache"`
	AllowSwap   bool      `yaml:"allow_swap"` // run although secrets could reach a swap device

	Log Log `yaml:"log"`
}

// The identities.
const (
	IdentityAuto  = "auto" // that of the cloud that the host turns out to run in
	IdentityAWS   = "aws"
	IdentityAzure = "azure"
	IdentityGCP   = "gcp"
	// The static ones.
	IdentityTokenFile      = "token-file"
	IdentityAppRoleWrapped = "approle-wrapped"
)

// StaticIdentity says where an identity is kept that no cloud vouches for.
type StaticIdentity struct {
	TokenFile string `yaml:"token_file"` // of token-file: holds a Vault token
	// Of approle-wrapped: the role's ID, and a file that holds the wrapping
	// token of a secret ID, to be used once.
	RoleID              string `yaml:"role_id"`
	WrappedSecretIDFile string `yaml:"wrapped_secret_id_file"`
}

// IsStatic reports whether the host's identity is one that is kept in a file.
func (c Config) IsStatic() bool {
	return c.Identity == IdentityTokenFile || c.Identity == IdentityAppRoleWrapped
}

// Vault says where one Vault is and how to log in to it. The zero Vault means
// that there is none.
type Vault struct {
	Address  string `yaml:"address"`
	Role     string `yaml:"role"`
	Mount    string `yaml:"mount"`     // of the auth method, without auth/; empty: what the identity is called
	ServerID string `yaml:"server_id"` // what evidence must be made for: on AWS the server ID, on Azure the resource
	CAFile   string `yaml:"ca_file"`   // empty: the system's authorities
	// TLSServerName is the name to expect in Vault's certificate; empty: that
	// of the address.
	TLSServerName string `yaml:"tls_server_name"`

	// A certificate to show to Vault, where it asks for one: both or neither.
	ClientCertFile string `yaml:"client_cert_file"`
	ClientKeyFile  string `yaml:"client_key_file"`
	// LoginSpread delays the first login by a random part of itself, so that
	// hosts that boot together do not log in together.
	LoginSpread time.Duration `yaml:"login_spread"`

	Namespace string `yaml:"namespace"`
	STSRegion string `yaml:"sts_region"` // empty: us-east-1, as in Vault
	// STSEndpoint is the STS that Vault asks, where it was told one of its own.
	STSEndpoint string `yaml:"sts_endpoint"`
	// RevokeOnShutdown revokes the agent's token when it ends, and with it what
	// was leased for the containers that run on.
	RevokeOnShutdown bool `yaml:"revoke_on_shutdown"`
	Rate             int  `yaml:"rate"` // requests a second at most; zero: DefaultRate
	// CheckVersions asks which version of a held secret is current before its
	// value is read again, which may take another permission than reading.
	CheckVersions bool `yaml:"check_versions"`
}

// DefaultRate is how many requests a second a provider is asked at most.
const DefaultRate = 100

// The types of provider. A provider that is called like its type need not name
// it; one of a cloud that is called so need not be configured at all.
const (
	TypeVault = "vault"
	TypeAWS   = "aws"   // Secrets Manager and Systems Manager's Parameter Store
	TypeAzure = "azure" // Key Vault
	TypeGCP   = "gcp"   // Secret Manager
)

// BuiltinVault is the name of the provider that the vault block configures.
const BuiltinVault = "vault"

// Provider is one more place where secrets live. Which keys it may have
// depends on its type.
type Provider struct {
	Type  string           `yaml:"type"`
	Vault `yaml:",inline"` // of TypeVault; of the others only Rate and CheckVersions

	// Of TypeAWS.
	Region     string   `yaml:"region"`      // empty: the host's
	AssumeRole string   `yaml:"assume_role"` // ARN of a role to read as
	ExternalID string   `yaml:"external_id"` // that the role asks for
	Replicas   []string `yaml:"replicas"`    // regions to ask when Region does not answer

	// Of TypeAzure.
	ClientID  string `yaml:"client_id"`  // of a user-assigned identity; empty: that of the azure block
	DNSSuffix string `yaml:"dns_suffix"` // of the vaults' host names; empty: that of the host's cloud

	// Of TypeGCP.
	Impersonate string `yaml:"impersonate"` // e-mail of a service account to read as
	Endpoint    string `yaml:"endpoint"`    // empty: Google's own
}

// Grant gives the workloads that match every selector the secrets that match
// any pattern.
type Grant struct {
	Name      string            `yaml:"name"`
	Workloads map[string]string `yaml:"workloads"` // selector key → value with wildcards
	Secrets   []secret.Pattern  `yaml:"secrets"`
	Vault     GrantLogin        `yaml:"vault"`
	// BootCache lets the grant's secrets be kept as Config.BootCache says.
	BootCache bool `yaml:"boot_cache"`
}

// GrantLogin is as whom a grant's secrets are read from Vault. The zero
// GrantLogin is the host's own login.
type GrantLogin struct {
	Role     string   `yaml:"role"`     // to log in as; empty: the host's
	Policies []string `yaml:"policies"` // all that the login may do; empty: all that the role may
}

// AWS says how to log in.
type AWS struct {
	Login string `yaml:"login"` // iam, by the role; ec2, by the identity document
}

// Azure says which of a machine's identities to use.
type Azure struct {
	ClientID string `yaml:"client_id"` // of a user-assigned identity; empty: the system-assigned one
}

// GCP says how to log in.
type GCP struct {
	Login string `yaml:"login"` // gce, by the instance; iam, by its service account
}

// The ways to log in: iam on AWS and GCP, ec2 on AWS, gce on GCP.
const (
	LoginIAM = "iam"
	LoginEC2 = "ec2"
	LoginGCE = "gce"
)

// Docker says which engine the agent serves, and how it meets it.
type Docker struct {
	Host     string `yaml:"host"`
	DataRoot string `yaml:"data_root"` // the engine's; empty: the engine is asked
	// Plugin is the name of the volume and secret driver; empty: there is none.
	Plugin    string `yaml:"plugin"`
	PluginDir string `yaml:"plugin_dir"` // where the engine looks for plugins' sockets
	// CDIDir is where the engine looks for CDI specs; empty: none is written.
	CDIDir string `yaml:"cdi_dir"`
}

// Paths are the agent's own directories.
type Paths struct {
	Run   string `yaml:"run"`   // memory
	State string `yaml:"state"` // holds no secret
	// Templates is the directory of the templates that labels may name.
	Templates string `yaml:"templates"`
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
		Identity: IdentityAuto,
		AWS:      AWS{Login: LoginIAM},
		GCP:      GCP{Login: LoginGCE},
		Docker: Docker{Host: "unix:///var/run/docker.sock", Plugin: "quaymaster", PluginDir: "/run/docker/plugins",
			CDIDir: "/var/run/cdi"},
		Paths:       Paths{Run: "/run/quaymaster", State: "/var/lib/quaymaster", Templates: "/etc/quaymaster/templates"},
		Audit:       Audit{File: "/var/log/quaymaster/audit.jsonl"},
		GateTimeout: 30 * time.Second,
		Refresh:     time.Minute,
		MaxStale:    time.Hour,
		StartFailed: true,
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

// Clouds returns every configured provider that is a cloud's own store, by name.
func (c Config) Clouds() map[string]Provider {
	clouds := maps.Clone(c.Providers)
	maps.DeleteFunc(clouds, func(_ string, p Provider) bool { return p.Type == TypeVault })
	return clouds
}

// Rates returns how many requests a second each provider may be asked, by its
// name.
func (c Config) Rates() map[string]int {
	rates := map[string]int{BuiltinVault: cmp.Or(c.Vault.Rate, DefaultRate)}
	for name, provider := range c.Providers {
		rates[name] = cmp.Or(provider.Rate, DefaultRate)
	}
	return rates
}

// CheckVersions returns for each provider, by its name, whether it is asked for
// versions.
func (c Config) CheckVersions() map[string]bool {
	check := map[string]bool{BuiltinVault: c.Vault.CheckVersions}
	for name, provider := range c.Providers {
		check[name] = provider.CheckVersions
	}
	return check
}

// smallest is what a newcomer is shown.
const smallest = `the smallest useful configuration is

vault: {address: https://vault.internal:8200, role: docker-host}
grants:
  - name: timeline
    workloads: {compose.project: shop, compose.service: timeline}
    secrets: ["vault:kv/shop/timeline/**"]`
