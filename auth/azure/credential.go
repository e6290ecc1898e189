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
	// after it could not be replaced.
	againAfter = 30 * time.Second
)

// Credential is the machine's managed identity in the form that Microsoft's
// clients take. It implements azcore.TokenCredential.
//
// Its tokens come from the instance metadata service, as an Attestor's do, and
// from nowhere else. They are held until shortly before their end; those who
// want the same token at the same time share one request; and everybody waits
// only as long as their own context says, which Microsoft's credential does
// not promise.
type Credential struct {
	host *Attestor

	mu        sync.Mutex
	held      map[string]holding // by scope
	asking    map[string]*asking // by scope
	keyVaults string             // empty: not known yet
}

// holding is a token that was handed out before.
type holding struct {
	identity
	retry time.Time // not to be replaced before then
}

// asking is a request for a token, for all who wait for its end.
type asking struct {
	done  chan struct{} // closed when the rest is set
	found identity
	err   error
	// givenUp: the one who asked went away, which says nothing of the service.
	givenUp bool
}

// HostCredential checks options. It makes no request.
func HostCredential(o Options) (*Credential, error) {
	host, err := New(o)
	if err != nil {
		return nil, err
	}
	host.audienceIs = ""
	return &Credential{host: host, held: map[string]holding{}, asking: map[string]*asking{}}, nil
}

// GetToken implements azcore.TokenCredential for one scope, which is an
// audience or ends in "/.default". Claims that are named make it ask for a
// token although it holds one; the metadata service is not told of them. Of
// the other options none has a meaning for a machine's identity. Errors wrap
// auth.ErrNoIdentity or auth.ErrUnavailable.
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

func (c *Credential) token(ctx context.Context, scope string, anew bool) (identity, error) {
	for {
		c.mu.Lock()
		if held := c.held[scope]; !anew && held.good(c.host.now()) {
			c.mu.Unlock()
			return held.identity, nil
		}
		running, isRunning := c.asking[scope]
		if !isRunning {
			running = &asking{done: make(chan struct{})}
			c.asking[scope] = running
		}
		c.mu.Unlock()
		if !isRunning {
			c.ask(ctx, scope, anew, running)
			return running.found, running.err
		}
		select {
		case <-running.done:
			if !running.givenUp {
				return running.found, running.err
			}
		case <-ctx.Done():
			return identity{}, fmt.Errorf("waiting for a token of the managed identity: %w: %w", ctx.Err(), auth.ErrUnavailable)
		}
	}
}

// good reports whether a token may be handed out without asking for another.
func (h holding) good(now time.Time) bool {
	return now.Before(h.expires) && (now.Before(h.expires.Add(-earlyBy)) || now.Before(h.retry))
}

// ask makes the request. A token that still lives is better than none, unless
// it is the reason for asking.
func (c *Credential) ask(ctx context.Context, scope string, anew bool, a *asking) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	found, err := c.host.identify(limited, newMetadata(c.host.endpoint), scope)

	c.mu.Lock()
	defer c.mu.Unlock()
	held, now := c.held[scope], c.host.now()
	switch {
	case err == nil:
		c.held[scope] = holding{identity: found}
	case !anew && now.Before(held.expires):
		held.retry = now.Add(againAfter)
		c.held[scope] = held
		found, err = held.identity, nil
	case ctx.Err() != nil:
		a.givenUp, err = true, fmt.Errorf("%w: %w", err, ctx.Err())
	}
	a.found, a.err = found, err
	delete(c.asking, scope)
	close(a.done)
}

// KeyVaults is the DNS suffix that the key vaults of the machine's own cloud
// have. The metadata service is asked once; errors are those of GetToken.
func (c *Credential) KeyVaults(ctx context.Context) (string, error) {
	c.mu.Lock()
	known := c.keyVaults
	c.mu.Unlock()
	if known != "" {
		return known, nil
	}
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	machine, err := newMetadata(c.host.endpoint).instance(limited)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keyVaults = machine.keyVaults()
	return c.keyVaults, nil
}
