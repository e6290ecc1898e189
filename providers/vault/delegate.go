package vault

import (
	"context"

	"github.com/quaymaster/quaymaster/providers"
)

// For implements providers.Delegator. Where no logins in the name of a
// container are made, everything that the provider is asked for is ErrInvalid:
// a grant that wants less than the host may do must not be served with more.
func (p *Provider) For(client providers.Client) providers.Provider {
	as := &Provider{common: p.common}
	if p.delegate != nil {
		as.tokens = p.delegate(client)
	}
	return as
}

// Forget implements providers.Delegator.
func (p *Provider) Forget(ctx context.Context, container string) error {
	if p.forget == nil {
		return nil
	}
	if err := p.forget(ctx, container); err != nil {
		return p.located(err)
	}
	return nil
}
