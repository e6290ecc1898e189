package vaultlogin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/lease"
)

// shutdownTimeout bounds the revocation of the token when Run ends.
const shutdownTimeout = 5 * time.Second

// due is what the loop does next, and when.
type due struct {
	step lease.Step
	at   time.Time
}

// loop is what Run alone knows.
type loop struct {
	*Source
	awake     lease.Awake
	failures  int       // attempts in a row
	loggedIn  time.Time // the last time
	deaths    int       // tokens in a row that Vault forgot soon after their login
	condition string    // what was logged last; empty: all is well
	identity  identity  // who the host last proved to be
	heeded    bool      // the server was asked whether it heeds the client's namespace, and does
}

// identity is what is logged of evidence.
type identity struct{ principal, remark string }

// Run logs in and keeps the login alive until ctx ends. It then returns nil, or
// the error of revoking the token. It may be called once.
func (s *Source) Run(ctx context.Context) error {
	l := &loop{Source: s, awake: lease.Awake{Wall: s.wall}}
	l.awake.Missed() // the first look
	next := due{lease.Replace, time.Now().Add(lease.StartAfter(s.spread, s.jitter()))}
	for {
		if next = l.wait(ctx, next); ctx.Err() != nil {
			return s.end(ctx)
		}
		next = l.do(ctx, next.step)
	}
}

// wait returns when next is due, or when ctx ends. A token that is forgotten
// meanwhile makes a login the next thing to do.
func (l *loop) wait(ctx context.Context, next due) due {
	for ctx.Err() == nil {
		pause := look
		if next.step != lease.Keep { // a token without an end waits for ever
			pause = min(pause, time.Until(next.at))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case <-l.forgotten:
			if l.current() == nil { // otherwise there is a newer one by now
				next = due{lease.Replace, l.afterDeath()}
			}
		}
		if missed := l.awake.Missed(); missed > 0 {
			next = l.afterSleep(missed, next)
		}
		if next.step != lease.Keep && !time.Now().Before(next.at) {
			break
		}
	}
	return next
}

// afterDeath is when to log in once Vault has forgotten a token: at once,
// unless tokens keep dying young, which must not become a storm of logins.
func (l *loop) afterDeath() time.Time {
	now := time.Now()
	l.say("forgotten", func() { l.log.Warn("Vault has forgotten the token; logging in again") })
	if now.Sub(l.loggedIn) > l.backoff.Max {
		l.deaths = 0
		return now
	}
	l.deaths++
	return now.Add(l.backoff.Delay(l.deaths, l.jitter()))
}

// do takes one step and says what is due after it. A renewal that nobody
// decided on is tried again while there is time.
func (l *loop) do(ctx context.Context, step lease.Step) due {
	if before := l.current(); step == lease.Renew && before != nil {
		after, err := l.renew(ctx, before)
		switch {
		case err == nil:
			return l.renewedTo(before, after)
		case invalid(err):
			l.forget(before.token) // which wait hears of
			return due{step: lease.Keep}
		case errors.Is(err, auth.ErrRefused):
			l.log.Debug("token not renewed; logging in again", "error", err)
			return due{lease.Replace, time.Now()}
		case !l.lastCall(before, err):
			return l.failed(ctx, step, err)
		}
	}
	granted, err := l.login(ctx)
	if err != nil {
		return l.failed(ctx, step, err)
	}
	return l.loggedInWith(granted)
}

// invalid reports whether Vault said that it does not know the token.
func invalid(err error) bool {
	failure, ok := errors.AsType[*vaultclient.Failure](err)
	return ok && failure.InvalidToken()
}

// lastCall reports whether to try a login beside a renewal that failed: when a
// moment is left, or when little is left and Vault itself failed to renew, for
// then it may yet grant a login. Otherwise the one fares like the other, and a
// login that gets through just because Vault came back between the two would
// have been a renewal's a moment later.
func (l *loop) lastCall(h *held, err error) bool {
	if time.Until(h.expires()) <= 2*l.backoff.First {
		return true
	}
	failure, ok := errors.AsType[*vaultclient.Failure](err)
	return ok && failure.Kind == vaultclient.Failed && time.Since(h.renewed) >= lease.ReplaceAfter(h.token.TTL, 0) // without jitter: the same at each attempt
}

func (l *loop) loggedInWith(granted *held) due {
	l.change(func() {
		if l.held != nil {
			l.past.add(l.held.token.Accessor, l.held.expires())
		}
		l.held, l.failure, l.vouched = granted, nil, time.Time{}
	})
	l.failures, l.condition, l.loggedIn = 0, "", time.Now()
	l.log.Info("logged in to Vault", "principal", granted.token.Principal, "accessor", granted.token.Accessor,
		"policies", granted.token.Policies, "ttl", granted.token.TTL)
	return l.plan(granted)
}

// renewedTo replaces before by after, unless before was forgotten meanwhile.
func (l *loop) renewedTo(before, after *held) due {
	l.change(func() {
		if l.held == before {
			l.held, l.failure = after, nil
		}
	})
	l.failures = 0
	l.log.Debug("token renewed", "ttl", after.token.TTL)
	l.say("", func() { l.log.Info("token renewed again", "ttl", after.token.TTL) })
	return l.plan(after)
}

// plan says what is due next for a token that was just granted.
func (l *loop) plan(h *held) due {
	step, after := lease.Next(h.token.TTL, h.full, h.token.Renewable, l.jitter())
	return due{step, h.renewed.Add(after)}
}

// failed notes that step did not succeed and says when to repeat it; a token
// that will have ended by then is replaced and not renewed.
func (l *loop) failed(ctx context.Context, step lease.Step, err error) due {
	if ctx.Err() != nil {
		return due{} // Run ends, and that is no failure
	}
	l.failures++
	h := l.current()
	next := due{step, time.Now().Add(l.pause(h, asked(err)))}
	if !h.alive(next.at) {
		next.step = lease.Replace
	}
	l.change(func() { l.failure, l.next = err, next.at })
	if h.alive(time.Now()) {
		l.say("held: "+decision(err), func() { l.log.Warn("token not renewed; the one held goes on", "until", h.expires(), "error", err) })
	} else {
		l.say("none: "+decision(err), func() { l.log.Error("no Vault token", "error", err) })
	}
	return next
}

// pause is how long to wait after a failure. While a token lives, half of the
// time that it has left is kept for attempts after this one.
func (l *loop) pause(h *held, asked time.Duration) time.Duration {
	pause := l.backoff.DelayAfter(asked, l.failures, l.jitter())
	if now := time.Now(); h.alive(now) && h.token.TTL > 0 {
		left := h.expires().Sub(now) - asked
		pause = min(pause, asked+max(left/2, l.backoff.First))
	}
	return pause
}

// asked is how long Vault asked to be left alone.
func asked(err error) time.Duration {
	if failure, ok := errors.AsType[*vaultclient.Failure](err); ok {
		return failure.RetryAfter
	}
	return 0
}

// say logs a change of condition once, not each attempt that finds it again.
func (l *loop) say(condition string, log func()) {
	if l.condition != condition {
		l.condition = condition
		log()
	}
}

func decision(err error) string {
	for _, sentinel := range []error{auth.ErrRefused, auth.ErrNoIdentity} {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	return auth.ErrUnavailable.Error()
}

func (s *Source) current() *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// revokeAtEnd makes Run revoke the token when it ends, whatever the options said.
func (s *Source) revokeAtEnd() { s.change(func() { s.revoke = true }) }

// end turns callers away and, when told so, revokes the token.
func (s *Source) end(ctx context.Context) error {
	last := s.current()
	revoke := false
	s.change(func() { s.held, s.ended, revoke = nil, true, s.revoke })
	if !revoke || !last.alive(time.Now()) || last.token.Accessor == "" { // a batch token has no accessor
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := s.client.With(last.token.Value).Auth().Token().RevokeSelfWithContext(ctx, "") // the argument is not used by the API
	if failure := vaultclient.Classify(err); failure != nil {
		return fmt.Errorf("%s: revoking the token: %w", s.where(), failure)
	}
	return nil
}
