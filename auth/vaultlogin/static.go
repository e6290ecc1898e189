package vaultlogin

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

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
// the token. One that is held already is no news while it lives: it comes back
// here because it cannot be renewed. It is not revoked when Run ends: it is
// somebody else's, who may need it again.
func (l *loop) adopt(ctx context.Context, evidence auth.Evidence) (*held, error) {
	l.change(func() { l.revoke = false })
	value := evidence.Login["token"]
	if h := l.current(); h.alive(time.Now()) && h.token.Value.Equal(value) {
		return nil, l.unusable(evidence, auth.ErrRefused, "cannot be renewed for longer: put a new one there")
	}
	asked := time.Now()
	answer, err := l.client.With(value).Auth().Token().LookupSelfWithContext(ctx)
	switch failure := vaultclient.Classify(err); {
	case failure == nil && answer != nil:
		return l.adopted(evidence, answer, asked)
	case failure == nil:
		return nil, l.unusable(evidence, auth.ErrUnavailable, "was looked up, and the answer is empty: is that Vault?")
	case failure.InvalidToken():
		return nil, l.unusable(evidence, auth.ErrRefused, "has ended or was revoked: put a new one there: %w", failure)
	case failure.Decided():
		return nil, l.unusable(evidence, auth.ErrRefused, "may not look itself up: give it the policy default: %w", failure)
	default:
		return nil, l.unusable(evidence, auth.ErrUnavailable, "cannot be looked up: %w", failure)
	}
}

// adopted is the token as Vault describes it (auth/token/lookup-self).
func (l *loop) adopted(evidence auth.Evidence, said *api.Secret, asked time.Time) (*held, error) {
	token := auth.Token{Value: evidence.Login["token"], Principal: evidence.Principal, IssuedAt: asked}
	token.Accessor, _ = said.Data["accessor"].(string)
	token.Renewable, _ = said.Data["renewable"].(bool)
	if name, _ := said.Data["display_name"].(string); name != "" {
		token.Principal += " (" + name + ")"
	}
	left, err := said.TokenTTL()
	if err == nil {
		token.TTL = left
		token.Policies, err = said.TokenPolicies()
	}
	if err != nil {
		return nil, l.unusable(evidence, auth.ErrUnavailable, "was looked up, and the answer is not Vault's: %w", err)
	}
	return &held{token: token, full: token.TTL, renewed: asked}, nil
}

func (l *loop) unusable(evidence auth.Evidence, decision error, reason string, cause ...any) error {
	return fmt.Errorf("%w: Vault at %s: %s "+reason, append([]any{decision, l.client.Address(), evidence.Static}, cause...)...)
}
