package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// looseEnd is a lease or a login that nobody needs any more.
type looseEnd struct {
	what     string // for people
	of       origin // of a lease
	lease    secret.Lease
	lane     *lane
	revoke   func(ctx context.Context) error
	ends     time.Time // by itself; zero: not known
	failures int
	next     time.Time
}

// giveUp takes leases for revocation. The caller has locked s.mu.
func (s *store) giveUp(o origin, leases ...secret.Lease) {
	leaser, isLeaser := o.provider.(providers.Leaser)
	for _, l := range leases {
		if l.ID == "" || !isLeaser {
			continue
		}
		s.loose = append(s.loose, &looseEnd{
			what: "lease of " + o.ref.String(), of: o, lease: l, lane: s.lanes[o.ref.Provider], ends: l.Ends(), next: s.now(),
			revoke: func(ctx context.Context) error { return leaser.Revoke(ctx, l) },
		})
	}
}

// noteLogin remembers that a login may be made in a container's name, whatever
// becomes of the read that it is for.
func (s *store) noteLogin(o origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins[o.container] == nil {
		s.logins[o.container] = map[providers.Delegator]origin{}
	}
	s.logins[o.container][o.delegator] = o
}

// giveUpLogins takes the logins that were made for a container for revocation,
// and with them what was leased under them. The caller has locked s.mu.
func (s *store) giveUpLogins(container string) {
	for delegator, o := range s.logins[container] {
		s.loose = append(s.loose, &looseEnd{
			what: fmt.Sprintf("login of container %s at %s", container, o.ref.Provider), lane: s.lanes[o.ref.Provider], next: s.now(),
			revoke: func(ctx context.Context) error { return delegator.Forget(ctx, container) },
		})
	}
	delete(s.logins, container)
}

// drop forgets what belongs to a container that is no more, and gives its
// leases and logins up for revocation.
func (s *store) drop(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, e := range s.entries {
		if k.container != container {
			continue
		}
		if e.delegator != nil { // its leases end with the login
			s.forget(e)
			continue
		}
		s.remove(e)
	}
	s.forsakeLocked(container)
	s.giveUpLogins(container)
	s.touch(container)
}

// keepsLogins reports whether a login of the container is of use to a secret
// that is held or may yet serve a start.
func (s *store) keepsLogins(container string) bool {
	for k, e := range s.entries {
		if k.container == container && e.delegator != nil {
			return true
		}
	}
	return false
}

// remove forgets a secret that nobody uses, and gives up its leases. The caller
// has locked s.mu.
func (s *store) remove(e *entry) {
	s.giveUp(e.origin, append(e.retired, e.current.Lease)...)
	s.forget(e)
}

func (s *store) forget(e *entry) {
	s.size -= size(e.current)
	s.bury(e.current)
	delete(s.entries, e.key())
}

// looseEnds hands out what is to be revoked now, and says when the next of the
// others is due (zero: there is none).
func (s *store) looseEnds() (due []*looseEnd, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, later := s.now(), []*looseEnd(nil)
	for _, l := range s.loose {
		switch {
		case !l.ends.IsZero() && !l.ends.After(now): // it has ended by itself
		case l.next.After(now):
			later = append(later, l)
			if next.IsZero() || l.next.Before(next) {
				next = l.next
			}
		default:
			due = append(due, l)
		}
	}
	s.loose = later
	return due, next
}

// revoked has a container noted anew of which something was to be revoked.
func (s *store) revoked(l *looseEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch(l.of.container)
}

// again puts a revocation that nobody answered off.
func (s *store) again(l *looseEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.failures++
	l.next = s.now().Add(s.pause(l.failures))
	s.loose = append(s.loose, l)
	s.wakeUp()
}

// tidyUp begins to revoke the leases and logins of containers that are no
// more, and returns when to ask next.
func (b *Broker) tidyUp(ctx context.Context) (next time.Time) {
	due, next := b.store.looseEnds()
	for _, l := range due {
		b.store.fetches.Go(func() { b.revoke(ctx, l) })
	}
	return next
}

func (b *Broker) revoke(ctx context.Context, l *looseEnd) {
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	err := l.lane.enter(ctx)
	if err == nil {
		defer l.lane.leave()
		err = l.revoke(ctx)
	}
	defer b.store.revoked(l)
	switch {
	case err == nil:
		b.Log.Info("revoked, because its container is no more", "what", l.what)
	case errors.Is(err, providers.ErrUnavailable):
		b.store.again(l)
	default:
		b.Log.Warn("what nobody needs any more could not be revoked; it ends by itself", "what", l.what, "ends", l.ends, "error", err)
	}
}
