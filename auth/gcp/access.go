package gcp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
	"github.com/quaymaster/quaymaster/broker/secret"
)

const (
	// accessEarly is how long before its end an access token is replaced. The
	// metadata server has a new one five minutes before, as "Authenticate
	// workloads using service accounts" in Compute Engine's documentation says.
	accessEarly = 4 * time.Minute
	// accessPause is how long a held token is used after its replacement failed,
	// before that is tried again.
	accessPause = 15 * time.Second
	// accessSpare is what must be left of a token for it to be used.
	accessSpare = 10 * time.Second

	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
)

// emails of service accounts.
var emails = regexp.MustCompile(`^[a-zA-Z0-9._-]+@[a-zA-Z0-9.-]+$`)

// AccessOptions of AccessTokens. The zero value is the instance's own service
// account.
type AccessOptions struct {
	// Impersonate is the email of another service account to act as, which takes
	// roles/iam.serviceAccountTokenCreator on it.
	Impersonate string
	// IAMCredentials is the base URL of the IAM Credentials API, which
	// impersonation asks. Empty: Google's.
	IAMCredentials string
	Now            func() time.Time // nil: time.Now
}

// AccessTokens are the OAuth access tokens of a service account, for Google's
// APIs. One is held until shortly before its end, by the time that passes here
// and not by the time of day; those who need the next one at the same time share
// one request for it. It may be used by several goroutines.
type AccessTokens struct {
	impersonate string
	iam         iam
	now         func() time.Time

	mu      sync.Mutex
	held    access
	pending *asking // nil: nobody asks
}

// access is a token and its times.
type access struct {
	token     secret.Value
	due, ends time.Time // to be replaced from, to be used until
}

// asking is a request for the next token. What it came to may be read once done
// is closed.
type asking struct {
	done   chan struct{}
	token  secret.Value
	err    error
	gaveUp bool // the one who asked went away: somebody else has to
}

// NewAccessTokens checks options. It makes no request.
func NewAccessTokens(o AccessOptions) (*AccessTokens, error) {
	if o.Impersonate != "" && !emails.MatchString(o.Impersonate) {
		return nil, fmt.Errorf("the service account to impersonate %q: write its email, as in reader@my-project.iam.gserviceaccount.com", o.Impersonate)
	}
	api, err := newIAM(o.IAMCredentials)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &AccessTokens{impersonate: o.Impersonate, iam: api, now: o.Now}, nil
}

// Token returns a token that is good for a while. An error wraps
// auth.ErrNoIdentity or auth.ErrUnavailable.
func (a *AccessTokens) Token(ctx context.Context) (secret.Value, error) {
	for {
		a.mu.Lock()
		if now := a.now(); now.Before(a.held.due) && now.Before(a.held.ends) {
			defer a.mu.Unlock()
			return a.held.token, nil
		}
		pending := a.pending
		if pending == nil {
			a.pending = &asking{done: make(chan struct{})}
			pending = a.pending
			a.mu.Unlock()
			return a.ask(ctx, pending)
		}
		a.mu.Unlock()
		select {
		case <-pending.done:
			if !pending.gaveUp {
				return pending.token, pending.err
			}
		case <-ctx.Done():
			return secret.Value{}, fmt.Errorf("waiting for an access token: %w: %w", ctx.Err(), auth.ErrUnavailable)
		}
	}
}

// Refused drops a token that an API did not accept, so that the next one is
// asked for.
func (a *AccessTokens) Refused(token secret.Value) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held.token.Equal(token) {
		a.held = access{}
	}
}

// ask gets the next token for all who wait. While the one held is good, a
// failure is not theirs.
func (a *AccessTokens) ask(ctx context.Context, pending *asking) (secret.Value, error) {
	next, err := a.next(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch now := a.now(); {
	case err == nil:
		a.held = next
	case now.Before(a.held.ends):
		a.held.due, err = now.Add(accessPause), nil
	default:
		a.held = access{}
	}
	pending.token, pending.err, pending.gaveUp = a.held.token, err, ctx.Err() != nil
	a.pending = nil
	close(pending.done)
	return pending.token, err
}

func (a *AccessTokens) next(ctx context.Context) (access, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	server, asked := newMetadata(a.now), a.now()
	token, left, err := server.access(limited)
	if err != nil {
		return access{}, err
	}
	if a.impersonate != "" {
		return a.impersonated(ctx, token, server.last.clock)
	}
	return until(token, asked.Add(left)), nil
}

func until(token secret.Value, ends time.Time) access {
	return access{token: token, due: ends.Add(-accessEarly), ends: ends.Add(-accessSpare)}
}

// access asks for an access token of the instance's service account, and how
// long it lives.
func (m *metadata) access(ctx context.Context) (secret.Value, time.Duration, error) {
	answer, err := m.ofAccount(ctx, "token")
	if err != nil {
		return secret.Value{}, 0, err
	}
	var said struct {
		Token string `json:"access_token"`
		Left  int64  `json:"expires_in"` // seconds
	}
	if err := json.Unmarshal([]byte(answer), &said); err != nil || said.Token == "" {
		return secret.Value{}, 0, fmt.Errorf("the metadata server's answer holds no access token: %w", auth.ErrUnavailable)
	}
	return secret.NewValue([]byte(said.Token)), time.Duration(said.Left) * time.Second, nil
}

// impersonated calls projects.serviceAccounts.generateAccessToken of the IAM
// Credentials API, as its reference (REST, v1) describes it. The token lives an
// hour, which is what IAM gives when nothing is asked for; its end is in
// Google's time.
func (a *AccessTokens) impersonated(ctx context.Context, own secret.Value, clock imds.Clock) (access, error) {
	asked, doing := a.now(), "to let this machine act as "+a.impersonate
	code, answer, err := a.iam.call(ctx, doing, a.impersonate+":generateAccessToken", own, map[string]any{"scope": []string{cloudPlatform}})
	if err != nil {
		return access{}, err
	}
	var said struct {
		Token string    `json:"accessToken"`
		Ends  time.Time `json:"expireTime"`
		Error refusal   `json:"error"`
	}
	err = json.Unmarshal(answer, &said)
	if err == nil && code == http.StatusOK && said.Token != "" && !said.Ends.IsZero() {
		return until(secret.NewValue([]byte(said.Token)), asked.Add(clock.Left(said.Ends, asked))), nil
	}
	return access{}, a.iam.refused(doing, code, said.Error, "its answer holds no access token: is that Google's API?",
		"grant this machine's service account roles/iam.serviceAccountTokenCreator on "+a.impersonate+
			" (gcloud iam service-accounts add-iam-policy-binding)")
}
