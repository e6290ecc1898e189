package vaultsim

import (
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// token is one that lives, or lived until a moment ago.
type token struct {
	id, accessor, path, displayName, entityID string
	policies                                  []string // sorted
	metadata                                  map[string]string
	created                                   time.Time
	creationTTL                               time.Duration
	renewed, expires                          time.Time // zero: never
	login                                     *login    // what it came from; nil: not from a login, and so not renewable
}

// IssueToken makes a token without a login, with Vault's default policy and
// these. It lives for ttl and cannot be renewed.
func (v *Vault) IssueToken(ttl time.Duration, policies ...string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.newToken("auth/token/create", "token", policies)
	t.creationTTL, t.expires = ttl, t.created.Add(ttl)
	return t.id
}

// newToken makes a token that nobody holds yet. Every token but root's has the
// default policy.
func (v *Vault) newToken(path, displayName string, policies []string) *token {
	if !slices.Equal(policies, []string{"root"}) {
		policies = append([]string{"default"}, policies...)
	}
	slices.Sort(policies)
	t := &token{
		id: "hvs.CAES" + v.env.Text(cloudsim.Alphanum, 87), accessor: v.env.Text(cloudsim.Alphanum, 24),
		path: path, displayName: displayName, policies: slices.Compact(policies), created: v.env.Now(),
	}
	v.tokens[t.id] = t
	return t
}

// living finds a token that has not expired.
func (v *Vault) living(id string) *token {
	t := v.tokens[id]
	if t == nil || (!t.expires.IsZero() && !v.env.Now().Before(t.expires)) {
		delete(v.tokens, id)
		return nil
	}
	return t
}

// auth is the token as a login or a renewal answers it.
func (t *token) auth(now time.Time) *authAnswer {
	return &authAnswer{
		ClientToken: t.id, Accessor: t.accessor, Policies: t.policies, TokenPolicies: t.policies, Metadata: t.metadata,
		LeaseDuration: t.left(now), Renewable: t.login != nil, EntityID: t.entityID, TokenType: "service", Orphan: t.login != nil,
	}
}

// left is how many whole seconds the token still lives.
func (t *token) left(now time.Time) int {
	if t.expires.IsZero() {
		return 0
	}
	return int(t.expires.Sub(now).Seconds())
}

// live gives the token a new end, and says so when it is nearer than asked for.
func (t *token) live(asked time.Duration, terms terms, now time.Time) (warnings []string) {
	ttl, warning := terms.grant(asked, now.Sub(t.created))
	t.expires = now.Add(ttl)
	if warning != "" {
		warnings = []string{warning}
	}
	return warnings
}
