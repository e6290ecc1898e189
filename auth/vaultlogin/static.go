package vaultlogin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

// noteStatic keeps in sight what the login rests on, and says it in the log
// when it is a static credential.
func (l *loop) noteStatic(evidence auth.Evidence) {
	if l.static == evidence.Static {
		return
	}
	l.change(func() { l.static = evidence.Static })
	if evidence.Static != "" {
		l.log.Warn("STATIC IDENTITY: this login rests on a static credential, and not on what this machine is", "credential", evidence.Static)
	}
}

// adopt takes a token that somebody else has logged in for: the evidence is
// the token. One that is held already is no news: it comes back here because
// it cannot be renewed.
func (l *loop) adopt(ctx context.Context, evidence auth.Evidence) (*held, error) {
	value := evidence.Login["token"]
	unusable := func(decision error, reason string, cause ...any) (*held, error) {
		return nil, fmt.Errorf("%w: Vault at %s: %s "+reason, append([]any{decision, l.client.Address(), evidence.Static}, cause...)...)
	}
	if h := l.current(); h != nil && h.token.Value.Equal(value) {
		return unusable(auth.ErrRefused, "cannot be renewed for longer: put a new one there")
	}
	asked := time.Now()
	answer, err := l.client.With(value).Auth().Token().LookupSelfWithContext(ctx)
	switch failure := vaultclient.Classify(err); {
	case failure == nil && answer == nil:
		return unusable(auth.ErrUnavailable, "was looked up, and the answer is empty: is that Vault?")
	case failure == nil:
	case failure.InvalidToken():
		return unusable(auth.ErrRefused, "has ended or was revoked: put a new one there: %w", failure)
	case failure.Decided():
		return unusable(auth.ErrRefused, "may not look itself up: give it the policy default: %w", failure)
	default:
		return unusable(auth.ErrUnavailable, "cannot be looked up: %w", failure)
	}
	token := auth.Token{Value: value, Principal: evidence.Principal, IssuedAt: asked}
	token.Accessor, _ = answer.Data["accessor"].(string)
	token.Renewable, _ = answer.Data["renewable"].(bool)
	if left, ok := answer.Data["ttl"].(json.Number); ok {
		seconds, _ := left.Int64() // Vault writes whole seconds
		token.TTL = time.Duration(seconds) * time.Second
	}
	if name, _ := answer.Data["display_name"].(string); name != "" {
		token.Principal += " (" + name + ")"
	}
	if token.Policies, err = answer.TokenPolicies(); err != nil {
		return unusable(auth.ErrUnavailable, "was looked up, and the answer is not Vault's: %w", err)
	}
	return &held{token: token, full: token.TTL, renewed: asked, adopted: true}, nil
}
