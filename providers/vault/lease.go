package vault

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// Renew implements providers.Leaser. It asks for no particular time, so Vault
// gives what the lease began with, or what is left to its maximum. ErrNotFound
// says that the lease has ended. Only after ErrUnavailable is trying again of use.
func (p *Provider) Renew(ctx context.Context, lease secret.Lease) (secret.Lease, error) {
	renewed, err := p.renew(ctx, lease)
	if err != nil {
		return secret.Lease{}, p.located(fmt.Errorf("renewing a lease of %s: %w", of(lease), err))
	}
	return renewed, nil
}

func (p *Provider) renew(ctx context.Context, lease secret.Lease) (secret.Lease, error) {
	if lease.ID == "" || !lease.Renewable {
		return secret.Lease{}, fmt.Errorf("%w: it cannot be renewed", providers.ErrInvalid)
	}
	got, err := p.write(ctx, "sys/leases/renew", map[string]any{"lease_id": lease.ID})
	if err != nil {
		return secret.Lease{}, err
	}
	if got.nothing() || got.LeaseID == "" {
		return secret.Lease{}, fmt.Errorf("%w: Vault renewed nothing", providers.ErrNotFound)
	}
	renewed := got.lease()
	renewed.Token = lease.Token // whoever renews it: it ends with the token that it began with
	return renewed, nil
}

// Revoke implements providers.Leaser. It returns when what was given is gone,
// or when Vault, because the service behind it does not answer, has taken over
// to try that again.
func (p *Provider) Revoke(ctx context.Context, lease secret.Lease) error {
	if lease.ID == "" {
		return nil
	}
	_, err := p.write(ctx, "sys/leases/revoke", map[string]any{"lease_id": lease.ID, "sync": true})
	if failure, is := errors.AsType[*vaultclient.Failure](err); is && failure.Decided() && errors.Is(err, providers.ErrUnavailable) {
		_, err = p.write(ctx, "sys/leases/revoke", map[string]any{"lease_id": lease.ID, "sync": false})
	}
	if err != nil {
		return p.located(fmt.Errorf("revoking a lease of %s: %w", of(lease), err))
	}
	return nil
}

// Bound implements providers.Leaser: a lease ends with the token that it was
// given under.
func (p *Provider) Bound(lease secret.Lease) time.Time {
	if lease.Token == "" || p.tokens == nil {
		return time.Time{}
	}
	ends, superseded := p.tokens.Superseded(lease.Token)
	if superseded && ends.IsZero() {
		return p.now() // it has ended already
	}
	if !superseded {
		return time.Time{}
	}
	return ends
}

// of names what a lease is of, for messages: its ID without the part that
// tells it from others.
func of(lease secret.Lease) string { return path.Dir(lease.ID) }
