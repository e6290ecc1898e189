package vaultlogin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// login makes evidence and trades it for a token.
func (l *loop) login(ctx context.Context) (*held, error) {
	if err := l.checkNamespace(ctx); err != nil {
		return nil, err
	}
	evidence, err := l.attestor.Attest(ctx, l.audience)
	if err != nil {
		if !errors.Is(err, auth.ErrNoIdentity) && !errors.Is(err, auth.ErrUnavailable) && !errors.Is(err, auth.ErrRefused) {
			err = fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
		}
		return nil, fmt.Errorf("evidence for %s: %w", l.where(), err)
	}
	l.sayIdentity(evidence)
	l.noteStatic(evidence)
	if evidence.Method == auth.TokenMethod {
		return l.adopt(ctx, evidence)
	}
	body := map[string]any{"role": l.role}
	for name, value := range evidence.Login {
		body[name] = string(value.Reveal()) // the body of the login request is what evidence is for
	}
	asked := time.Now()
	answer, err := l.client.Anonymous().Logical().WriteWithContext(ctx, "auth/"+l.mount+"/login", body)
	if err != nil {
		return nil, l.loginFailure(evidence, err)
	}
	if answer == nil || answer.Auth == nil || answer.Auth.ClientToken == "" {
		return nil, fmt.Errorf("%w: %s: the answer holds no token: is that an auth method, and one that asks for no second factor?",
			auth.ErrRefused, l.where())
	}
	token := newToken(answer.Auth, evidence, asked)
	return &held{token: token, full: token.TTL, renewed: asked}, nil
}

// sayIdentity logs who the host is and how that is shown, when it changed.
func (l *loop) sayIdentity(evidence auth.Evidence) {
	found := identity{evidence.Principal, evidence.Remark}
	if l.identity == found {
		return
	}
	l.identity = found
	log := l.log.With("host", found.principal)
	if found.remark != "" {
		log = log.With("remark", found.remark)
	}
	log.Info("identity found")
}

// checkNamespace asks once, before the first login, whether the server heeds
// the client's namespace: one that does not would log the host in at its root
// and read the root's secrets under the namespace's names.
func (l *loop) checkNamespace(ctx context.Context) error {
	if l.heeded {
		return nil
	}
	ignored, err := l.client.IgnoresNamespaces(ctx)
	if failure := vaultclient.Classify(err); failure != nil {
		return fmt.Errorf("%w: %s: asking whether it has namespaces: %w", auth.ErrUnavailable, l.where(), failure)
	}
	if ignored {
		return fmt.Errorf("%w: %s: vault.namespace is %q, but this server is a Vault Community, which has no namespaces and would answer "+
			"from its root: unset vault.namespace and VAULT_NAMESPACE, or set vault.address to a Vault Enterprise",
			auth.ErrRefused, l.where(), l.client.Namespace())
	}
	l.heeded = true
	return nil
}

// newToken reads what a login yielded. Its time counts from the asking, which
// is on the safe side of Vault's own clock.
func newToken(granted *api.SecretAuth, evidence auth.Evidence, asked time.Time) auth.Token {
	// The aws method names the principal only when its config/identity says so.
	ttl := time.Duration(granted.LeaseDuration) * time.Second
	if granted.Accessor == "" && ttl > time.Second {
		ttl -= time.Second // a batch token: Vault counts its time from the whole second before
	}
	principal := cmp.Or(granted.Metadata["client_arn"], granted.Metadata["canonical_arn"], evidence.Principal)
	return auth.Token{
		Value:     secret.NewValue([]byte(granted.ClientToken)),
		Accessor:  granted.Accessor,
		Principal: principal,
		Policies:  granted.Policies,
		IssuedAt:  asked,
		TTL:       ttl,
		Renewable: granted.Renewable,
	}
}

// loginFailure says what a failed login means and what to do about it.
func (s *Source) loginFailure(evidence auth.Evidence, err error) error {
	failure := vaultclient.Classify(err)
	decision, advice := auth.ErrUnavailable, ""
	if refused(evidence.Method, failure) {
		decision = auth.ErrRefused
		advice = fmt.Sprintf(" (this host is %s)", evidence.Principal) + s.advise(evidence, failure)
	}
	switch failure.Status {
	case http.StatusForbidden, http.StatusNotFound:
		advice = fmt.Sprintf(" (is an auth method of type %s mounted at auth/%s? see vault.mount)", evidence.Method, s.mount)
	}
	return fmt.Errorf("%w: %s: %w%s", decision, s.where(), failure, advice)
}

// renew asks for more time for h and returns it with that time.
func (s *Source) renew(ctx context.Context, h *held) (*held, error) {
	after, err := extend(ctx, s.client, h)
	if err != nil {
		return nil, tokenFailure(s.where(), "renewing the token", err)
	}
	return after, nil
}

// errNoTime is an answer to a renewal with which the token would end at once.
var errNoTime = errors.New("the answer grants no time")

// extend asks for more time for h. The error is a *vaultclient.Failure or
// errNoTime.
func extend(ctx context.Context, client *vaultclient.Client, h *held) (*held, error) {
	asked := time.Now()
	answer, err := client.With(h.token.Value).Auth().Token().RenewSelfWithContext(ctx, 0)
	if failure := vaultclient.Classify(err); failure != nil {
		return nil, failure
	}
	if answer == nil || answer.Auth == nil || (answer.Auth.LeaseDuration == 0 && h.full > 0) {
		return nil, errNoTime
	}
	token := h.token
	token.TTL = time.Duration(answer.Auth.LeaseDuration) * time.Second
	token.Renewable = answer.Auth.Renewable
	return &held{token: token, full: h.full, renewed: asked}, nil
}

// asksWhetherItLives asks Vault about a token. One whose policies do not let it
// ask lives. The error is a *vaultclient.Failure: nobody knows.
func asksWhetherItLives(ctx context.Context, client *vaultclient.Client, token auth.Token) (bool, error) {
	_, err := client.With(token.Value).Auth().Token().LookupSelfWithContext(ctx)
	failure := vaultclient.Classify(err)
	switch {
	case failure == nil || (failure.Kind == vaultclient.Denied && !failure.InvalidToken()):
		return true, nil
	case failure.InvalidToken():
		return false, nil
	}
	return false, failure
}

// tokenFailure says what a failed request about a token means: unless Vault
// decided, nobody did.
func tokenFailure(where, doing string, err error) error {
	decision := auth.ErrRefused
	if failure, ok := errors.AsType[*vaultclient.Failure](err); ok && !failure.Decided() {
		decision = auth.ErrUnavailable
	}
	return fmt.Errorf("%w: %s: %s: %w", decision, where, doing, err)
}

// Refused implements auth.TokenSource. Callers that come together share one
// question to Vault.
func (s *Source) Refused(ctx context.Context, token auth.Token) (retry bool, err error) {
	came := time.Now()
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return false, fmt.Errorf("%w: %s: asking about the token: %w", auth.ErrUnavailable, s.where(), ctx.Err())
	}
	s.mu.Lock()
	current := s.held != nil && s.held.token.Value.Equal(token.Value)
	vouched := s.vouched
	s.mu.Unlock()
	if !current {
		return true, nil // there is a newer one, or one is on its way
	}
	if vouched.After(came) {
		return false, nil // somebody asked while this caller waited
	}
	asked := time.Now()
	switch lives, err := asksWhetherItLives(ctx, s.client, token); {
	case err != nil:
		return false, tokenFailure(s.where(), "asking about the token", err)
	case lives:
		s.change(func() { s.vouched = asked })
		return false, nil
	}
	s.forget(token)
	return true, nil
}

// forget drops token, unless it was replaced meanwhile, and tells the loop.
func (s *Source) forget(token auth.Token) {
	s.change(func() {
		if s.held == nil || !s.held.token.Value.Equal(token.Value) {
			return
		}
		s.past.add(token.Accessor, time.Time{})
		s.held = nil
		s.failure = fmt.Errorf("%w: %s: Vault does not know the token any more", auth.ErrUnavailable, s.where())
		s.next = time.Now()
		select {
		case s.forgotten <- struct{}{}:
		default: // the loop has not seen the last one yet
		}
	})
}
