package vault

import (
	"context"
	"fmt"
	"slices"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// Permission is what it takes to have a secret, and whether the provider's token
// has it.
type Permission struct {
	Path       string // of Vault's API, as a policy must name it
	Capability string // "read" or "update"
	Allowed    bool
	// Issues: each use makes a secret of its own, so trying is not for free.
	Issues bool
}

// Permission asks Vault what the token may do about ref, and leaves the secret
// alone. ref.Path may be the beginning of many paths, which ends in a slash: then
// the answer is for what a policy says of all below it alike, and a policy that
// names some of them is not seen. Errors are those of Fetch.
func (p *Provider) Permission(ctx context.Context, ref secret.Ref) (Permission, error) {
	found, err := p.permission(ctx, ref)
	if err != nil {
		return found, p.located(err)
	}
	return found, nil
}

func (p *Provider) permission(ctx context.Context, ref secret.Ref) (Permission, error) {
	m, _, err := p.mountOf(ctx, ref)
	if err != nil {
		return Permission{}, err
	}
	e, err := m.endpoint(ref)
	if err != nil {
		return Permission{}, err
	}
	needed := Permission{Path: ref.Path, Capability: "read", Issues: e.issues}
	if e.writes {
		needed.Capability = "update"
	}
	if m.kind == "kv" && m.version == "2" {
		needed.Path = m.path + "data/" + m.below(ref)
	}
	answer, err := p.write(ctx, "sys/capabilities-self", map[string]any{"paths": []string{needed.Path}})
	if err != nil {
		return needed, err
	}
	if answer.nothing() {
		return needed, fmt.Errorf("%w: what the token may do at %s is not what was answered: is that Vault?", providers.ErrUnavailable, needed.Path)
	}
	may, _ := answer.Data[needed.Path].([]any)
	needed.Allowed = slices.Contains(may, any(needed.Capability)) || slices.Contains(may, any("root"))
	return needed, nil
}
