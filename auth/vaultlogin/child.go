package vaultlogin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/providers"
)

// child implements auth.TokenSource for one client of a Delegation.
type child struct {
	*Delegation
	client   providers.Client
	parent   *Source
	hopeless error // why there is no parent; nil: there is one

	turn chan struct{} // capacity 1: held by the one that makes a request about the token

	mu        sync.Mutex
	held      *held
	under     string // the accessor of the parent that held was made under
	next      due
	past      past
	forgotten bool
	vouched   time.Time // when Vault was last asked about held and said that it lives
	failure   error     // of the last attempt to make a token; nil: it succeeded
	failed    time.Time // when that was
	retry     time.Time // not before then
	failures  int       // in a row, refusals and tokens that died young
}

// life is when the token held ends at the latest, by its own time or with its
// parent (zero: never, or there is none), whether it lives for all that is
// known, and whether its parent is still the current one. The caller has locked
// c.mu.
func (c *child) life() (ends time.Time, lives, current bool) {
	if c.held == nil {
		return time.Time{}, false, false
	}
	ends = c.held.expires()
	parent, current := c.parent.lifeOf(c.under)
	if endless := current && parent.IsZero(); !endless && (ends.IsZero() || parent.Before(ends)) {
		ends = parent
	}
	return ends, time.Now().Before(ends) || (current && ends.IsZero()), current
}

// living is the token held, if it lives.
func (c *child) living() *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, lives, _ := c.life(); lives {
		return c.held
	}
	return nil
}

// usable is the token held, if it lives and its parent was not replaced.
func (c *child) usable() *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, lives, current := c.life(); lives && current && !c.forgotten {
		return c.held
	}
	return nil
}

func (c *child) current() *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// Token implements auth.TokenSource.
func (c *child) Token(ctx context.Context) (auth.Token, error) {
	if c.hopeless != nil {
		return auth.Token{}, fmt.Errorf("%w: %s: %w", auth.ErrRefused, c.where(), c.hopeless)
	}
	if h := c.usable(); h != nil {
		return h.token, nil
	}
	came := time.Now()
	if err := c.takeTurn(ctx); err != nil {
		return auth.Token{}, err
	}
	defer c.leave()
	if h := c.usable(); h != nil {
		return h.token, nil // made while this caller waited
	}
	if err := c.make(ctx, came); err != nil {
		if h := c.living(); h != nil && errors.Is(err, auth.ErrUnavailable) {
			return h.token, nil // its parent was replaced, but it lives yet
		}
		return auth.Token{}, err
	}
	return c.current().token, nil
}

// Superseded implements auth.TokenSource.
func (c *child) Superseded(accessor string) (ends time.Time, superseded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil && c.held.token.Accessor == accessor {
		if ends, _, current := c.life(); !current {
			return ends, true
		}
		return time.Time{}, false
	}
	ends, superseded = c.past.ends[accessor]
	return ends, superseded
}

// Refused implements auth.TokenSource. Callers that come together share one
// question to Vault.
func (c *child) Refused(ctx context.Context, token auth.Token) (retry bool, err error) {
	came := time.Now()
	if err := c.takeTurn(ctx); err != nil {
		return false, err
	}
	defer c.leave()
	c.mu.Lock()
	h, vouched := c.held, c.vouched
	c.mu.Unlock()
	if h == nil || !h.token.Value.Equal(token.Value) {
		return true, nil // there is a newer one, or the next call of Token makes one
	}
	if vouched.After(came) {
		return false, nil
	}
	asked := time.Now()
	lives, err := asksWhetherItLives(ctx, c.Delegation.client, token)
	switch {
	case err != nil:
		return false, tokenFailure(c.where(), "asking about the token", err)
	case lives:
		c.mu.Lock()
		c.vouched = asked
		c.mu.Unlock()
		return false, nil
	}
	c.lose(h)
	return true, nil
}

// keep renews the token, or replaces it where that cannot be. An error means
// that nobody decided, and that it is due again later.
func (c *child) keep(ctx context.Context) error {
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	defer c.leave()
	c.mu.Lock()
	h, step := c.held, c.next.step
	c.mu.Unlock()
	if c.usable() == nil {
		c.plan(due{step: lease.Keep}) // its next use makes a new one
		return nil
	}
	if step == lease.Replace {
		return c.unlessDecided(c.make(ctx, time.Now()))
	}
	after, err := extend(ctx, c.Delegation.client, h)
	switch {
	case err == nil:
		c.hold(after, c.under)
		return nil
	case invalid(err):
		c.lose(h)
		return nil
	}
	return c.unlessDecided(tokenFailure(c.where(), "renewing the token", err))
}

// unlessDecided plans what follows a failure to keep the token alive. One that
// may not be renewed, or have a successor, lives to its end.
func (c *child) unlessDecided(err error) error {
	h := c.current()
	if err == nil || h == nil {
		return err
	}
	if errors.Is(err, auth.ErrUnavailable) {
		c.mu.Lock()
		c.next.at = time.Now().Add(c.backoff.Max)
		c.mu.Unlock()
		return err
	}
	c.log.Debug("the token of a container is not kept alive", "error", err)
	step, after := lease.Next(h.token.TTL, h.full, false, c.jitter())
	if at := h.renewed.Add(after); at.After(time.Now()) {
		c.plan(due{step, at})
	} else {
		c.plan(due{step: lease.Keep})
	}
	return nil
}

func (c *child) plan(next due) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = next
}

// dueAt is when the loop is to keep the token; zero: never.
func (c *child) dueAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil || c.next.step == lease.Keep {
		return time.Time{}
	}
	return c.next.at
}

// age is told that time passed unseen: the token is due at soon.
func (c *child) age(missed time.Duration, soon time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past.age(missed)
	if c.next.step != lease.Keep && soon.Before(c.next.at) {
		c.next.at = soon
	}
}

// takeTurn waits until nobody else makes a request about the token.
func (c *child) takeTurn(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %s: %w", auth.ErrUnavailable, c.where(), ctx.Err())
	}
}

func (c *child) leave() { <-c.turn }
