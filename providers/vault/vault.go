// Package vault reads secrets from HashiCorp Vault.
//
// A ref's path is the path that Vault's own command line takes: the mount,
// then the path below it. What kind of secrets engine the mount is, is asked of
// Vault once and remembered, and decides what the rest of the ref means:
//
//	vault:kv/shop/db#password@3            key-value, either version: kept until somebody changes it
//	vault:database/creds/shop-ro           made for the one who reads, under a lease; so is what aws, azure,
//	                                       gcp, consul, rabbitmq and every other engine hands out
//	vault:database/static-creds/shop       a login whose password Vault changes: one for all who read it
//	vault:pki/issue/web?common_name=a.b    a certificate with the key that Vault made for it
//	vault:pki/sign/web?common_name=a.b     the same with a key that is made here and never leaves
//	vault:ssh/sign/web?public_key=…        an SSH certificate; also ssh/issue and ssh/creds
//	vault:totp/code/bank                   the code of the moment
//	vault:transit/decrypt/shop?ciphertext=vault:v1:…
//	vault:kv/shop/first?unwrap=true        what the wrapping token that is kept there wraps
//
// Parameters go to Vault as they are. Where a path must be written to and not
// read, the provider knows it for the engines above; for any other the ref says
// so itself, with method=write. It is never guessed: a ref that its grant
// takes for a read must not become a write (of database/rotate-root, say), and
// a grant allows only parameters that it names.
package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// Options of a Provider.
type Options struct {
	Client *vaultclient.Client
	// Tokens is the login of the host.
	Tokens auth.TokenSource
	// Delegate returns the login in the name of a container, the same one
	// each time for one client; nil: there are none such.
	Delegate func(client providers.Client) auth.TokenSource
	// Forget ends the login in the name of a container; nil with Delegate.
	Forget func(ctx context.Context, container string) error
	Now    func() time.Time
}

// Provider reads from one Vault. It implements providers.Provider, Leaser,
// Issuer, Versioner and Delegator.
type Provider struct {
	*common
	tokens auth.TokenSource // nil: nobody can log in as this client
}

// common is what all providers of one Vault share, whoever they read as.
type common struct {
	client   *vaultclient.Client
	delegate func(client providers.Client) auth.TokenSource
	forget   func(ctx context.Context, container string) error
	now      func() time.Time
	mounts   *mounts
	unwraps  *unwraps
}

var _ interface {
	providers.Provider
	providers.Leaser
	providers.Issuer
	providers.Versioner
	providers.Delegator
} = (*Provider)(nil)

// New returns a provider that reads as the host.
func New(o Options) *Provider {
	return &Provider{tokens: o.Tokens, common: &common{
		client: o.Client, delegate: o.Delegate, forget: o.Forget, now: o.Now, mounts: newMounts(), unwraps: newUnwraps(),
	}}
}

// Fetch implements providers.Provider.
func (p *Provider) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	ref = ref.Whole()
	found, err := p.fetch(ctx, ref)
	if err != nil {
		return secret.Secret{}, p.located(err)
	}
	found.Ref = ref
	return found, nil
}

// located says which Vault an error is about.
func (p *Provider) located(err error) error {
	return fmt.Errorf("Vault at %s: %w", p.client.Address(), err)
}

func (p *Provider) fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	m, remembered, err := p.mountOf(ctx, ref)
	if err != nil {
		return secret.Secret{}, err
	}
	found, err := p.from(ctx, m, ref)
	if !remembered || err == nil || errors.Is(err, providers.ErrUnavailable) {
		return found, err
	}
	// The mount may have been replaced by one of another kind or version, whose
	// paths are others: then this one is not there, or no policy allows it.
	now, lookupErr := p.lookUp(ctx, ref)
	switch {
	case errors.Is(lookupErr, providers.ErrUnavailable), lookupErr != nil && errors.Is(err, providers.ErrNotFound):
		return secret.Secret{}, lookupErr // nothing is there only if there is a mount to be asked
	case lookupErr != nil || now == m:
		return secret.Secret{}, err
	}
	return p.from(ctx, now, ref)
}

// from fetches ref from the mount that it lies in.
func (p *Provider) from(ctx context.Context, m mount, ref secret.Ref) (secret.Secret, error) {
	e, err := m.endpoint(ref)
	if err != nil {
		return secret.Secret{}, err
	}
	if ref.Version != "" && !e.versions {
		return secret.Secret{}, fmt.Errorf("%w: %s: %s keeps no versions: leave out @%s", providers.ErrInvalid, ref.Path, m, ref.Version)
	}
	return e.fetch(p, ctx, m, ref)
}

// Issues implements providers.Issuer. It looks up the mount unless that is
// remembered.
func (p *Provider) Issues(ctx context.Context, ref secret.Ref) (bool, error) {
	m, _, err := p.mountOf(ctx, ref)
	if err != nil {
		return false, p.located(err)
	}
	e, err := m.endpoint(ref)
	if err != nil {
		return false, p.located(err)
	}
	return e.issues, nil
}
