package vault

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// mount is what Vault says of one secrets engine.
type mount struct {
	path    string // with its trailing slash
	kind    string // "kv", "database", "pki"
	version string // of the key-value engine: "1" or "2"
}

// String says for people what the mount is.
func (m mount) String() string {
	if m.kind == "kv" {
		return fmt.Sprintf("the mount %s is of version %s of the key-value engine, which", m.path, m.version)
	}
	return fmt.Sprintf("the mount %s is of type %q, which", m.path, m.kind)
}

// below is ref's path inside the mount.
func (m mount) below(ref secret.Ref) string { return strings.TrimPrefix(ref.Path, m.path) }

// mounts are those that were found so far. They may be used by several
// goroutines.
type mounts struct {
	mu     sync.Mutex
	byPath map[string]mount // by path with its trailing slash
}

func newMounts() *mounts { return &mounts{byPath: map[string]mount{}} }

// find returns the innermost known mount that path lies in.
func (s *mounts) find(path string) (m mount, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known, candidate := range s.byPath {
		if strings.HasPrefix(path, known) && len(known) > len(m.path) {
			m, found = candidate, true
		}
	}
	return m, found
}

func (s *mounts) remember(m mount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byPath[m.path] = m
}

// mountOf finds the mount that ref's path lies in, and whether it was
// remembered from an earlier request.
func (p *Provider) mountOf(ctx context.Context, ref secret.Ref) (m mount, remembered bool, err error) {
	if m, remembered = p.mounts.find(ref.Path); remembered {
		return m, true, nil
	}
	m, err = p.lookUp(ctx, ref)
	return m, false, err
}

// lookUp asks Vault which mount ref's path lies in, and remembers it.
func (p *Provider) lookUp(ctx context.Context, ref secret.Ref) (m mount, err error) {
	if first, _, _ := strings.Cut(ref.Path, "/"); first == "auth" || first == "sys" {
		return mount{}, fmt.Errorf("%w: %s: below %s/ Vault keeps its own workings, not secrets", providers.ErrInvalid, ref.Path, first)
	}
	answer, err := p.read(ctx, lookup+ref.Path, nil)
	if err != nil {
		return mount{}, err
	}
	if answer.nothing() {
		return mount{}, fmt.Errorf("%w: no secrets engine is mounted at %s", providers.ErrNotFound, ref.Path)
	}
	m.path, _ = answer.Data["path"].(string)
	m.kind, _ = answer.Data["type"].(string)
	if m.kind == "generic" { // the name of the key-value engine before it had versions
		m.kind = "kv"
	}
	options, _ := answer.Data["options"].(map[string]any)
	m.version, _ = options["version"].(string)
	if m.kind == "kv" && m.version == "" {
		m.version = "1"
	}
	if m.path == "" {
		return mount{}, fmt.Errorf("%w: which mount %s lies in is not what was answered: is that Vault?", providers.ErrUnavailable, ref.Path)
	}
	if !strings.HasPrefix(ref.Path, m.path) {
		return mount{}, fmt.Errorf("%w: %s names a mount, not a secret below it", providers.ErrInvalid, ref.Path)
	}
	p.mounts.remember(m)
	return m, nil
}

// lookup is where Vault tells which mount a path lies in, to whoever may do
// anything there at all.
const lookup = "sys/internal/ui/mounts/"
