// Package vaultlogin trades evidence for a Vault token and keeps it alive.
//
// A Source has one loop, Run, and only that loop logs in or renews: so there is
// never more than one login at a time, however many wait for it, and a login
// that failed is repeated by the loop's backoff and not by each waiting
// caller. Callers see what the loop last achieved: Token returns the token
// while it lives, waits while a login may still succeed, and returns at once
// the error of a login that was refused.
//
// A token is renewed at two thirds of its time. When it cannot be renewed (it
// is not renewable as a batch token is not, its max TTL is near, Vault refuses),
// the loop logs in again before it ends and hands out the new one from then on.
// The old one is left to end by itself. Whatever was leased under it ends with
// it, and is had anew before: Superseded says when that is, and a fiftieth of
// the token's TTL is left at the least. Revoking it sooner would need to know
// that nothing hangs on it and that nobody is just using it, to gain the minutes
// that its max TTL leaves it.
//
// For the same reason a token is not revoked at shutdown unless the options say
// so: with it go the leases of containers that run on without the agent, which
// is what happens at each upgrade. Who does want that ends Run last, after
// those who hand out what was leased: the revocation is the last thing Run does.
//
// An attempt that fails is repeated after a backoff with full jitter; where
// Vault says how long to wait (Retry-After with a 429 or a 503), after that
// and the backoff. What is logged are changes: trouble once, its end once.
//
// # Many hosts
//
// Hosts that start in one moment would log in in one moment. Two things bound
// that. Options.Spread makes each host wait a random share of it before its first
// login: with 10,000 hosts and a Vault that is to see 100 logins a second, 200 s
// gives 50 in the mean and leaves room for chance; but a host that boots alone
// waits as long, so leave it at zero for fewer than about a thousand hosts.
// And Vault itself can refuse what is too much, by a rate-limit quota on
// auth/<mount>/login with enable_rate_limit_response_headers in sys/quotas/config
// (without that it does not say when to come back). Such a quota counts by client
// address: it bounds hosts behind one address, or all of them with group_by=none,
// which only Vault Enterprise has. Renewals need neither: their jitter keeps a
// fleet spread once it is.
package vaultlogin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/lease"
)

// defaultBackoff finds a Vault that is back within one gate's patience.
var defaultBackoff = lease.Backoff{First: time.Second, Max: 30 * time.Second}

// Options say where to log in and as what.
type Options struct {
	Client   *vaultclient.Client
	Attestor auth.Attestor
	Mount    string // of the auth method; empty: "aws"
	Role     string
	Audience string // the server ID that Vault expects; may be empty
	Logger   *slog.Logger

	// Replaced is called when a token that was handed out has been replaced or
	// forgotten, so that who leased something under it looks at Superseded. It
	// must not block. Nil: nobody wants to know.
	Replaced func()

	// Backoff between attempts that failed. Zero: from 1 s to 30 s.
	Backoff lease.Backoff
	// Jitter draws from [0, 1); nil: at random.
	Jitter func() float64
	// Spread is the longest that the first login waits, so that hosts which
	// start together do not log in together. Zero: it does not wait.
	Spread time.Duration
	// Wall is the clock that people set; nil: time.Now. It tells only that the
	// machine slept, and no deadline goes by it.
	Wall func() time.Time
	// RevokeOnShutdown revokes the token when Run ends, and with it every
	// lease made under it. A batch token cannot be revoked and is left to end.
	RevokeOnShutdown bool
}

// Source implements auth.TokenSource. It may be used by several goroutines.
type Source struct {
	client      *vaultclient.Client
	attestor    auth.Attestor
	mount, role string
	audience    string
	log         *slog.Logger
	backoff     lease.Backoff
	jitter      func() float64
	spread      time.Duration
	wall        func() time.Time
	revoke      bool

	forgotten chan struct{} // capacity 1: tells Run that the held token is gone
	asking    chan struct{} // capacity 1: held by the one caller that asks Vault about a token

	mu      sync.Mutex
	held    *held         // nil: none
	static  string        // what the last evidence was made of; empty: nothing static
	failure error         // of the last attempt; nil: it succeeded, or there was none
	next    time.Time     // when the attempt after a failure is due
	ended   bool          // Run has returned
	changed chan struct{} // closed and replaced at each change of the above
	vouched time.Time     // when Vault was last asked about the held token and said that it lives
	past    past          // the tokens that were held before
}

// held is the token of the last login.
type held struct {
	token   auth.Token
	full    time.Duration // what the login gave
	renewed time.Time     // when it was last granted: at login or renewal
}

// expires is when the token ends; zero: never.
func (h *held) expires() time.Time {
	if h.token.TTL == 0 {
		return time.Time{}
	}
	return h.renewed.Add(h.token.TTL)
}

func (h *held) alive(now time.Time) bool {
	return h != nil && (h.token.TTL == 0 || now.Before(h.expires()))
}

// New checks options. It makes no request: Run does. An error names the
// setting that is wrong, as the configuration file spells it.
func New(o Options) (*Source, error) {
	if o.Client == nil || o.Attestor == nil || o.Logger == nil {
		return nil, errors.New("a Vault login needs a client, an attestor and a logger")
	}
	if o.Role == "" {
		return nil, errors.New("vault.role is empty: set it to the role that this host logs in as")
	}
	if o.Spread < 0 {
		return nil, fmt.Errorf("vault.login_spread %s: write a time from zero up", o.Spread)
	}
	mount := strings.Trim(cmp.Or(strings.TrimPrefix(o.Mount, "auth/"), "aws"), "/")
	if mount == "" || strings.ContainsAny(mount, "?#% ") || strings.Contains("/"+mount+"/", "/../") || strings.Contains(mount, "//") {
		return nil, fmt.Errorf("vault.mount %q: write where the auth method is mounted, as in aws", o.Mount)
	}
	s := &Source{
		client: o.Client, attestor: o.Attestor, mount: mount, role: o.Role, audience: o.Audience,
		log:     o.Logger.With("vault", o.Client.Address(), "mount", mount, "role", o.Role),
		backoff: cmp.Or(o.Backoff, defaultBackoff), jitter: o.Jitter, spread: o.Spread, wall: o.Wall, revoke: o.RevokeOnShutdown,
		past:      newPast(o.Replaced),
		forgotten: make(chan struct{}, 1), asking: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if s.jitter == nil {
		s.jitter = rand.Float64
	}
	if s.wall == nil {
		s.wall = time.Now
	}
	return s, nil
}

// State is what a Source knows of its login, for status reports.
type State struct {
	LoggedIn  bool
	Principal string    // as Vault sees it; of the last login
	Accessor  string    // names the token in Vault's audit log
	Static    string    // the static credential that the login rests on; empty: none
	Expires   time.Time // of the token; zero: never
	Err       error     // of the last attempt to log in or renew; nil: it succeeded
	NextTry   time.Time // when Err is not nil
}

// State returns the present state.
func (s *Source) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{LoggedIn: s.held.alive(time.Now()), Static: s.static, Err: s.failure}
	if s.failure != nil {
		state.NextTry = s.next
	}
	if s.held != nil {
		state.Principal, state.Accessor, state.Expires = s.held.token.Principal, s.held.token.Accessor, s.held.expires()
	}
	return state
}

// Token implements auth.TokenSource. It needs Run to be running. While Vault
// is unavailable it waits until ctx ends; it returns at once an error that
// waiting is unlikely to mend (auth.ErrRefused, auth.ErrNoIdentity), though the
// loop goes on trying.
func (s *Source) Token(ctx context.Context) (auth.Token, error) {
	for {
		s.mu.Lock()
		held, failure, next, ended, changed := s.held, s.failure, s.next, s.ended, s.changed
		s.mu.Unlock()
		switch {
		case ended:
			return auth.Token{}, fmt.Errorf("%w: %s: this agent is shutting down", auth.ErrUnavailable, s.where())
		case held.alive(time.Now()):
			return held.token, nil
		case errors.Is(failure, auth.ErrRefused), errors.Is(failure, auth.ErrNoIdentity):
			return auth.Token{}, fmt.Errorf("%w (the next try is at %s)", failure, next.Format(time.TimeOnly))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return auth.Token{}, s.gaveUp(ctx, failure)
		}
	}
}

// Superseded implements auth.TokenSource.
func (s *Source) Superseded(accessor string) (ends time.Time, superseded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ends, superseded = s.past.ends[accessor]
	return ends, superseded
}

// lifeOf is when the token with this accessor ends as things stand (zero: never),
// and whether it is the current one. One that is neither that nor remembered
// is as good as dead.
func (s *Source) lifeOf(accessor string) (ends time.Time, current bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil && s.held.token.Accessor == accessor {
		return s.held.expires(), true
	}
	return s.past.ends[accessor], false
}

// gaveUp is the error of a caller whose ctx ended while it waited for a login.
func (s *Source) gaveUp(ctx context.Context, failure error) error {
	if failure == nil {
		failure = fmt.Errorf("%w: %s: the first login is not through yet", auth.ErrUnavailable, s.where())
	}
	return fmt.Errorf("%w (waited for it: %w)", failure, ctx.Err())
}

// where names what this source logs in to.
func (s *Source) where() string {
	return fmt.Sprintf("Vault at %s, auth method at auth/%s, role %q", s.client.Address(), s.mount, s.role)
}

// change applies f to the shared state and wakes everyone who waits for it.
func (s *Source) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}
