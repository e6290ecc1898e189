package azure

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/quaymaster/quaymaster/auth"
)

const (
	// earlyBy is how long before its end a held token is replaced. Microsoft's
	// clients ask for another one five minutes before.
	earlyBy = 10 * time.Minute
	// againAfter is how long a token that is near its end goes on being used
	// after it could not be replaced, and for how long one that is new is all
	// that is to be had.
	againAfter = 30 * time.Second
)

// Credential is the machine's managed identity in the form that Microsoft's
// clients take. It implements azcore.TokenCredential.
//
// Its tokens come from the instance metadata service, as an Attestor's do, and
// from nowhere else. They are held until shortly before their end, by the time
// that passes here and not by the time of day; those who want the same token at
// the same time share one request; and everybody waits only as long as their own
// context says, which Microsoft's credential does not promise.
type Credential struct {
	host   *Attestor
	tokens shared[identity] // by scope
	clouds shared[string]

	mu        sync.Mutex
	held      map[string]holding // by scope
	keyVaults string             // empty: not known yet
}

// holding is a token that was handed out before.
type holding struct {
	identity
	since time.Time
	retry time.Time // when it is near its end: not to be replaced before then
}

// HostCredential checks options. It makes no request.
func HostCredential(o Options) (*Credential, error) {
	host, err := New(o)
	if err != nil {
		return nil, err
	}
	host.audienceIs = ""
	return &Credential{host: host, held: map[string]holding{}}, nil
}

// GetToken implements azcore.TokenCredential for one scope, which is an
// audience or ends in "/.default". Claims that are named say that the token that
// is held was refused, and make it ask for another, unless it has just done so;
// the metadata service is not told of them. Of the other options none has a
// meaning for a machine's identity. Errors wrap auth.ErrNoIdentity or
// auth.ErrUnavailable.
func (c *Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, fmt.Errorf("a token of the managed identity is for one scope, not %d: %w", len(o.Scopes), auth.ErrNoIdentity)
	}
	found, err := c.token(ctx, o.Scopes[0], o.Claims != "")
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: string(found.token.Reveal()), ExpiresOn: found.expires}, nil // goes into a request's header
}

func (c *Credential) token(ctx context.Context, scope string, refused bool) (identity, error) {
	if held, good := c.atHand(scope, refused); good {
		return held, nil
	}
	return c.tokens.get(ctx, scope, "a token of the managed identity", func(ctx context.Context) (identity, error) {
		if held, good := c.atHand(scope, refused); good { // another has asked meanwhile
			return held, nil
		}
		return c.replace(ctx, scope, refused)
	})
}

// atHand is the token that is held, and whether it may be handed out without
// asking for another. Many may be refused with one token at the same time: the
// first of them has it replaced, and the others take the new one.
func (c *Credential) atHand(scope string, refused bool) (held identity, good bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, now := c.held[scope], c.host.now()
	isFresh := now.Before(h.expires.Add(-earlyBy)) || (now.Before(h.expires) && now.Before(h.retry))
	return h.identity, isFresh && (!refused || now.Before(h.since.Add(againAfter)))
}

// replace asks for a token. One that still lives is better than none, unless it
// is the reason for asking.
func (c *Credential) replace(ctx context.Context, scope string, refused bool) (identity, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	found, err := c.host.identify(limited, c.host.newMetadata(), scope)

	c.mu.Lock()
	defer c.mu.Unlock()
	held, now := c.held[scope], c.host.now()
	switch {
	case err == nil:
		held = holding{identity: found, since: now}
	case refused || !now.Before(held.expires):
		return identity{}, err
	default:
		held.retry = now.Add(againAfter)
	}
	c.held[scope] = held
	return held.identity, nil
}

// KeyVaults is the DNS suffix that the key vaults of the machine's own cloud
// have. The metadata service is asked once; errors are those of GetToken.
func (c *Credential) KeyVaults(ctx context.Context) (string, error) {
	if known := c.knownCloud(); known != "" {
		return known, nil
	}
	return c.clouds.get(ctx, "", "the instance metadata", func(ctx context.Context) (string, error) {
		if known := c.knownCloud(); known != "" { // another has asked meanwhile
			return known, nil
		}
		limited, cancel := context.WithTimeout(ctx, attestTimeout)
		defer cancel()
		machine, err := c.host.newMetadata().instance(limited)
		if err != nil {
			return "", err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keyVaults = machine.keyVaults()
		return c.keyVaults, nil
	})
}

func (c *Credential) knownCloud() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keyVaults
}
