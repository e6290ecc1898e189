package vaultlogin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/lease"
)

// make has a new token take the place of the one held. The caller has the turn;
// it shares a failure that it waited for.
func (c *child) make(ctx context.Context, came time.Time) error {
	c.mu.Lock()
	failure, failed, retry, forgotten := c.failure, c.failed, c.retry, c.forgotten
	c.mu.Unlock()
	switch now := time.Now(); {
	case forgotten:
		return fmt.Errorf("%w: %s: the container is gone", auth.ErrRefused, c.where())
	case failure != nil && failed.After(came):
		return failure
	case now.Before(retry) && errors.Is(failure, auth.ErrRefused):
		return fmt.Errorf("%w (the next try is at %s)", failure, retry.Format(time.TimeOnly))
	case now.Before(retry):
		select {
		case <-time.After(retry.Sub(now)):
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: its tokens die as soon as they are made: %w", auth.ErrUnavailable, c.where(), ctx.Err())
		}
	}
	made, under, err := c.create(ctx)
	if err != nil {
		c.fail(err)
		return err
	}
	c.log.Debug("token for a container", "container", c.name(), "accessor", made.token.Accessor, "policies", made.token.Policies, "ttl", made.token.TTL)
	c.hold(made, under)
	return nil
}

// fail notes why there is no token. A refusal is not asked for again at once.
func (c *child) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure, c.failed = err, time.Now()
	if errors.Is(err, auth.ErrRefused) {
		c.failures++
		c.retry = c.failed.Add(c.backoff.Delay(c.failures, c.jitter()))
	}
}

// hold keeps a token that was just made or renewed and plans what is next.
func (c *child) hold(h *held, under string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil && c.held.token.Accessor != h.token.Accessor {
		ends, _, _ := c.life()
		c.past.add(c.held.token.Accessor, ends)
	}
	step, after := lease.Next(h.token.TTL, h.full, h.token.Renewable, c.jitter())
	c.held, c.under, c.next = h, under, due{step, h.renewed.Add(after)}
	c.failure = nil
	c.wakeUp()
}

// lose drops a token that Vault does not know any more. When tokens die as
// soon as they are made, the next one is made later and later.
func (c *child) lose(h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past.add(h.token.Accessor, time.Time{})
	c.held = nil
	now := time.Now()
	if now.Sub(h.token.IssuedAt) > c.backoff.Max {
		c.failures = 0
		return
	}
	c.failures++
	c.retry = now.Add(c.backoff.Delay(c.failures, c.jitter()))
}

// create asks for a child of the parent's token. A refusal may mean that the
// parent has died early; then a new one is tried, once.
func (c *child) create(ctx context.Context) (made *held, under string, err error) {
	for again := true; ; again = false {
		parent, err := c.parent.Token(ctx)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", c.where(), err)
		}
		if parent.Accessor == "" {
			return nil, "", fmt.Errorf("%w: %s: %s logs in with a batch token, which can have no children: "+
				"set token_type=service on that role, or let the grant name neither role nor policies", auth.ErrRefused, c.where(), c.role())
		}
		asked := time.Now()
		answer, err := c.Delegation.client.With(parent.Value).Auth().Token().CreateWithContext(ctx, c.request(parent))
		failure := vaultclient.Classify(err)
		if failure == nil && (answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "") {
			return nil, "", fmt.Errorf("%w: %s: the answer holds no token", auth.ErrUnavailable, c.where())
		}
		if failure == nil {
			token := newToken(answer.Auth, auth.Evidence{Principal: parent.Principal}, asked)
			if err := c.checkPolicies(ctx, token, answer.Auth.IdentityPolicies); err != nil {
				return nil, "", err
			}
			return &held{token: token, full: token.TTL, renewed: asked}, parent.Accessor, nil
		}
		if failure.Kind == vaultclient.Denied && again {
			retry, err := c.parent.Refused(ctx, parent)
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w", c.where(), err)
			}
			if retry {
				continue
			}
		}
		return nil, "", c.refusal(failure)
	}
}

// withoutEnd is a child's TTL when its parent has none.
const withoutEnd = time.Hour

// request is what a child is to be. Without policies it gets all of its parent's.
func (c *child) request(parent auth.Token) *api.TokenCreateRequest {
	metadata := map[string]string{"container_id": c.client.Container}
	maps.Copy(metadata, c.client.Metadata)
	renewable := true
	return &api.TokenCreateRequest{
		Policies: c.client.Policies, Metadata: metadata, DisplayName: "quaymaster-" + c.name(), Renewable: &renewable, Type: "service",
		TTL: fmt.Sprintf("%ds", int(cmp.Or(parent.TTL, withoutEnd).Seconds())),
	}
}

// checkPolicies gives back a token that may do more than its grant says: a child
// is of the same entity as its parent, and so has the policies that Vault's
// identity store gives to that entity and its groups.
func (c *child) checkPolicies(ctx context.Context, token auth.Token, ofIdentity []string) error {
	more := slices.DeleteFunc(slices.Clone(ofIdentity), func(policy string) bool { return slices.Contains(c.client.Policies, policy) })
	if len(c.client.Policies) == 0 || len(more) == 0 {
		return nil
	}
	if err := c.revoke(ctx, token); err != nil {
		c.log.Debug("a token that may do too much ends by itself", "error", err)
	}
	return fmt.Errorf("%w: %s: its policies would not be those of the grant alone, because Vault's identity store adds %s: "+
		"take these from the host's entity and its groups and give them to %s, or let the grant name them",
		auth.ErrRefused, c.where(), strings.Join(more, ", "), c.role())
}

// refusal says what a failure to make a child means and what to do about it.
func (c *child) refusal(failure *vaultclient.Failure) error {
	advice := ""
	switch failure.Kind {
	case vaultclient.Denied:
		advice = fmt.Sprintf(` (a policy of %s must say: path "auth/token/create" { capabilities = ["update"] })`, c.role())
	case vaultclient.Invalid:
		advice = fmt.Sprintf(" (the grant asks for %s: %s must have these policies itself)", strings.Join(c.client.Policies, ", "), c.role())
	}
	return fmt.Errorf("%w%s", tokenFailure(c.where(), "making the token", failure), advice)
}

// end revokes the token and lets nobody have another one.
func (c *child) end(ctx context.Context) error {
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	defer c.leave()
	h := c.living()
	c.mu.Lock()
	c.forgotten = true
	c.mu.Unlock()
	if h == nil {
		return nil
	}
	if err := c.revoke(ctx, h.token); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past.add(h.token.Accessor, time.Time{})
	c.held = nil
	return nil
}

func (c *child) revoke(ctx context.Context, token auth.Token) error {
	err := c.Delegation.client.With(token.Value).Auth().Token().RevokeSelfWithContext(ctx, "") // the argument is not used by the API
	if failure := vaultclient.Classify(err); failure != nil && !failure.InvalidToken() {
		return tokenFailure(c.where(), "revoking the token", failure)
	}
	return nil
}

// where names what the token is for.
func (c *child) where() string {
	return fmt.Sprintf("Vault at %s, token for container %s", c.Delegation.client.Address(), c.name())
}

func (c *child) name() string {
	return cmp.Or(c.client.Metadata["container_name"], c.client.Container[:min(12, len(c.client.Container))])
}

func (c *child) role() string {
	if c.client.Role == "" {
		return "the host's role"
	}
	return fmt.Sprintf("role %q", c.client.Role)
}
