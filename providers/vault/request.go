package vault

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/providers"
)

// answer is what Vault said to one request.
type answer struct {
	*api.Secret           // nil: it said that there is nothing, or had nothing to say
	asked       time.Time // when the request was made that brought it
	token       string    // the accessor of the token that it was made with
}

func (a answer) nothing() bool { return a.Secret == nil }

// request is one use of Vault's API.
type request struct {
	verb       string // for messages: "reading"
	capability string // what a policy must allow: "read"
	path       string
	send       func(ctx context.Context, client *api.Client) (*api.Secret, error)
}

// read asks for what is at path.
func (p *Provider) read(ctx context.Context, path string, query url.Values) (answer, error) {
	return p.do(ctx, request{"reading", "read", path, func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		return client.Logical().ReadWithDataWithContext(ctx, path, query)
	}})
}

// write sends body to path, for what Vault makes of it.
func (p *Provider) write(ctx context.Context, path string, body map[string]any) (answer, error) {
	return p.do(ctx, request{"writing to", "update", path, func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		return client.Logical().WriteWithContext(ctx, path, body)
	}})
}

// do makes one request. A refusal may mean that the token has died early
// (revoked, or its role re-created); then a new one is tried, once.
func (p *Provider) do(ctx context.Context, r request) (answer, error) {
	if p.tokens == nil {
		return answer{}, fmt.Errorf("%w: %s %s in the name of a container: the agent makes no such logins to this Vault: "+
			"take role and policies out of the grant", providers.ErrInvalid, r.verb, r.path)
	}
	token, err := p.tokens.Token(ctx)
	if err != nil {
		return answer{}, noToken(r, err)
	}
	got, failure := p.attempt(ctx, token, r)
	if failure != nil && failure.Kind == vaultclient.Denied {
		retry, err := p.tokens.Refused(ctx, token)
		if err != nil { // whether the token or the policy is the reason is not known
			return answer{}, noToken(r, err)
		}
		if retry {
			if token, err = p.tokens.Token(ctx); err != nil {
				return answer{}, noToken(r, err)
			}
			got, failure = p.attempt(ctx, token, r)
		}
	}
	if failure != nil {
		return answer{}, refused(r, failure)
	}
	if foreign(got.Secret) {
		return answer{}, fmt.Errorf("%w: %s %s: the answer is not one of Vault's: is that Vault?", providers.ErrUnavailable, r.verb, r.path)
	}
	return got, nil
}

// foreign reports whether an answer is JSON of somebody else, which the api
// package takes for the fields of a secret. Vault numbers its answers.
func foreign(got *api.Secret) bool { return got != nil && got.RequestID == "" }

func (p *Provider) attempt(ctx context.Context, token auth.Token, r request) (answer, *vaultclient.Failure) {
	asked := p.now()
	got, err := r.send(ctx, p.client.With(token.Value))
	return answer{got, asked, token.Accessor}, vaultclient.Classify(err)
}

// noToken says what a failed login means for a request.
func noToken(r request, err error) error {
	kind := providers.ErrDenied
	if errors.Is(err, auth.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		kind = providers.ErrUnavailable
	}
	return fmt.Errorf("%w: %s %s: no token: %w", kind, r.verb, r.path, err)
}
