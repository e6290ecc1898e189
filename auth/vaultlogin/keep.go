package vaultlogin

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/lease"
)

const (
	// renewals is how many children are renewed at a time.
	renewals = 8
	// idleLogin is how long a login as another role outlives the last container
	// that needed it, so that a container which runs every few minutes does not
	// cost a login each time.
	idleLogin = 10 * time.Minute
)

// Run keeps the children alive and runs the logins as other roles until ctx
// ends; it waits for them. It may be called once. The host's login is run by
// whoever made it.
func (d *Delegation) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	d.awake.Missed() // the first look
	failures, blocked := 0, time.Time{}
	for ctx.Err() == nil {
		d.runLogins(ctx, &running)
		if missed := d.awake.Missed(); missed > 0 {
			d.afterSleep(missed)
		}
		due, next := d.due(time.Now())
		if time.Now().Before(blocked) {
			due, next = nil, blocked
		}
		if len(due) == 0 {
			d.pause(ctx, next)
			continue
		}
		if err := keepAll(ctx, due); err != nil {
			failures++
			blocked = time.Now().Add(d.backoff.DelayAfter(asked(err), failures, d.jitter()))
			d.log.Debug("tokens of containers not renewed", "error", err)
		} else {
			failures = 0
		}
	}
	return nil
}

// pause waits until then, or until there is something new, for a look at most.
func (d *Delegation) pause(ctx context.Context, then time.Time) {
	wait := look
	if !then.IsZero() {
		wait = min(look, time.Until(then))
	}
	select {
	case <-ctx.Done():
	case <-d.wake:
	case <-time.After(wait):
	}
}

// runLogins starts the logins that are new and ends those that nobody needs.
func (d *Delegation) runLogins(ctx context.Context, running *sync.WaitGroup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	needed := map[string]bool{}
	for _, c := range d.children {
		needed[c.client.Role] = true
	}
	for role, l := range d.logins {
		switch {
		case needed[role]:
			l.idle = time.Time{}
		case l.idle.IsZero():
			l.idle = time.Now()
		case time.Since(l.idle) >= idleLogin:
			delete(d.logins, role)
			l.source.revokeAtEnd() // nothing hangs on it: whatever was leased is its children's
			if l.stop != nil {
				l.stop()
			}
			continue
		}
		if l.stop == nil {
			var mine context.Context
			mine, l.stop = context.WithCancel(ctx)
			running.Go(func() {
				if err := l.source.Run(mine); err != nil {
					d.log.Warn("the token of a role could not be revoked and ends by itself", "role", role, "error", err)
				}
			})
		}
	}
}

// due returns the children to renew or replace now, and when the next one is
// due (zero: none). Those that were forgotten are dropped once they have ended.
func (d *Delegation) due(now time.Time) (due []*child, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.children {
		switch at := c.dueAt(); {
		case at.IsZero():
		case !at.After(now):
			due = append(due, c)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	for container, children := range d.ending {
		alive := children[:0]
		for _, c := range children {
			if c.living() != nil {
				alive = append(alive, c)
			}
		}
		if d.ending[container] = alive; len(alive) == 0 {
			delete(d.ending, container)
		}
	}
	return due, next
}

// keepAll renews children, a few at a time. When Vault is unavailable to one,
// the others are not tried: there may be hundreds, and each would wait.
func keepAll(ctx context.Context, due []*child) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(renewals)
	for _, c := range due {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			return c.keep(ctx)
		})
	}
	return group.Wait()
}

// afterSleep makes every child due soon, as the host's own token is after a sleep.
func (d *Delegation) afterSleep(missed time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, c := range d.children {
		c.age(missed, now.Add(lease.StartAfter(d.backoff.Max, d.jitter())))
	}
}
