package gcpsim

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Role is what may be granted on a secret, a key or a project.
type Role string

// The roles: what is in a version, and what is said about it. Neither includes
// the other.
const (
	SecretAccessor Role = "roles/secretmanager.secretAccessor"
	SecretViewer   Role = "roles/secretmanager.viewer"
	// KeyUser encrypts and decrypts with a key of KMS.
	KeyUser Role = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
)

// VersionState is what may be done with a version.
type VersionState string

// The states.
const (
	Enabled   VersionState = "ENABLED"
	Disabled  VersionState = "DISABLED"
	Destroyed VersionState = "DESTROYED"
)

// MaxPayload is the most bytes that a version keeps.
const MaxPayload = 64 << 10

type stored struct {
	versions []version // version 1 first
	aliases  map[string]int
}

type version struct {
	payload []byte
	state   VersionState
	created string
	damaged bool // its checksum is another's
}

type grant struct {
	email, resource string
	role            Role
}

var secretNames = regexp.MustCompile(`^projects/[^/]+(/locations/[^/]+)?/secrets/[A-Za-z0-9_-]{1,255}$`)

// PutSecret creates a secret with one version, or adds one, and returns its
// number.
func (c *Cloud) PutSecret(name string, payload []byte) (number int, err error) {
	if !secretNames.MatchString(name) || len(payload) > MaxPayload {
		return 0, fmt.Errorf("putting %d bytes into the secret %q: not a name, or too many", len(payload), name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.secrets[name]
	if found == nil {
		found = &stored{aliases: map[string]int{}}
		c.secrets[name] = found
	}
	found.versions = append(found.versions, version{payload: slices.Clone(payload), state: Enabled, created: c.env.Now().Format(time.RFC3339Nano)})
	return len(found.versions), nil
}

// SetVersionState enables, disables or destroys a version. Destroyed is for
// good.
func (c *Cloud) SetVersionState(name string, number int, state VersionState) error {
	return c.changeVersion(name, number, func(v *version) error {
		if v.state == Destroyed {
			return errors.New("it is destroyed")
		}
		if v.state = state; state == Destroyed {
			v.payload = nil
		}
		return nil
	})
}

// Damage makes the checksum of a version wrong.
func (c *Cloud) Damage(name string, number int) error {
	return c.changeVersion(name, number, func(v *version) error { v.damaged = true; return nil })
}

// SetAlias gives a version another name.
func (c *Cloud) SetAlias(name, alias string, number int) error {
	return c.changeVersion(name, number, func(*version) error {
		if alias == "latest" || alias == "" || strings.Trim(alias[:1], "0123456789") == "" {
			return errors.New("not an alias")
		}
		c.secrets[name].aliases[alias] = number
		return nil
	})
}

func (c *Cloud) changeVersion(name string, number int, change func(*version) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.secrets[name]
	if found == nil || number < 1 || number > len(found.versions) {
		return fmt.Errorf("changing version %d of %s: %w", number, name, ErrNoEntity)
	}
	if err := change(&found.versions[number-1]); err != nil {
		return fmt.Errorf("changing version %d of %s: %w", number, name, err)
	}
	return nil
}

// Grant gives an account a role on a secret or a key or, as projects/P, on all
// of a project.
func (c *Cloud) Grant(email, resource string, role Role) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grants[grant{email, resource, role}] = true
}

// Revoke takes away what Grant gave.
func (c *Cloud) Revoke(email, resource string, role Role) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.grants, grant{email, resource, role})
}

// SetSecretManager enables or disables the service in a project. It is enabled
// where nothing was said.
func (c *Cloud) SetSecretManager(project string, enabled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disabled[project] = !enabled
}

// may reports whether an account has a permission on one of some resources,
// under the lock.
func (c *Cloud) may(email, permission string, resources ...string) bool {
	role := map[string]Role{"secretmanager.versions.access": SecretAccessor, "secretmanager.versions.get": SecretViewer,
		"cloudkms.cryptoKeyVersions.useToEncrypt": KeyUser, "cloudkms.cryptoKeyVersions.useToDecrypt": KeyUser}[permission]
	return slices.ContainsFunc(resources, func(resource string) bool { return c.grants[grant{email, resource, role}] })
}

// numbered is a resource's name with its project's number, as Google answers,
// under the lock.
func (c *Cloud) numbered(name string) string {
	parts := strings.SplitN(name, "/", 3) // projects, ID, the rest
	parts[1] = c.number(parts[1])
	return strings.Join(parts, "/")
}

// number is the version that an ID or alias names; zero: none. The latest is
// the one made last, whatever its state.
func (s *stored) number(id string) int {
	if id == "latest" {
		return len(s.versions)
	}
	if number, known := s.aliases[id]; known {
		return number
	}
	number, _ := strconv.Atoi(id)
	return number
}
