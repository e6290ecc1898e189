package broker

import (
	"context"
	"errors"
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// grave is a value that nobody is handed any more, and which deliveries may
// still be reading: those up to this number.
type grave struct {
	secret  secret.Secret
	readers int
}

// reading says that values are handed out and read until the caller calls done.
func (s *store) reading() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	number := s.number
	s.readers[number] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.readers, number)
		s.wipeGraves()
	}
}

// bury overwrites a value as soon as nobody reads it. The caller has locked s.mu.
func (s *store) bury(gone secret.Secret) {
	s.graves = append(s.graves, grave{gone, s.number})
	s.wipeGraves()
}

func (s *store) wipeGraves() {
	for len(s.graves) > 0 {
		for number := range s.readers {
			if number <= s.graves[0].readers {
				return
			}
		}
		s.graves[0].secret.Wipe()
		s.graves = s.graves[1:]
	}
}

// moment is how much earlier than planned a secret may be read again or renewed.
const moment = time.Second

// keep begins to read again or renew what is due, wipes what nobody needs any
// more, and returns the reads that it began and when to ask next (zero: nothing
// is scheduled).
func (s *store) keep(ctx context.Context) (begun []*flight, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	due := s.horizon(now)
	for k, e := range s.entries {
		if len(e.holders) == 0 {
			s.wipe(k, e, now)
			continue
		}
		if bound := e.hangsOn(); !bound.Equal(e.bound) {
			s.plan(e) // what its lease hangs on has got an end
		}
		switch {
		case e.next.IsZero():
		case e.next.After(due):
			next = earlier(next, e.next)
		case s.flights[k] != nil, e.renewing: // it is under way
		case e.step == lease.Renew:
			s.beginRenewal(ctx, e)
		default:
			f := s.newFlight(e)
			f.kept = true
			begun = append(begun, f)
		}
	}
	s.launch(ctx, fetchPatience, begun)
	return begun, next
}

// horizon is until when secrets are taken for due now: where one is, those of the
// next moment go with it. Jitter spreads the secrets of a host over seconds, and
// the loop would look at all of them for each one otherwise.
func (s *store) horizon(now time.Time) time.Time {
	for _, e := range s.entries {
		if len(e.holders) > 0 && !e.next.IsZero() && !e.next.After(now) {
			return now.Add(moment)
		}
	}
	return now
}

// age makes everything older by the time that passed while the machine slept,
// which the clock of timers did not count, and plans anew: what was leased may
// have ended meanwhile.
func (s *store) age(missed time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		e.read = e.read.Add(-missed)
		if issued := &e.current.Lease.IssuedAt; !issued.IsZero() {
			*issued = issued.Add(-missed)
		}
		if len(e.holders) > 0 && e.failures == 0 && !e.renewing {
			s.plan(e)
		}
	}
	s.change()
}

// wipe forgets a secret that nobody holds when no start can use it any more,
// and the login that it was read under when nothing else was.
func (s *store) wipe(k key, e *entry, now time.Time) {
	if s.flights[k] != nil || e.renewing || !e.useless(now, s.maxStale) {
		return
	}
	s.remove(e)
	if e.delegator != nil && !s.keepsLogins(k.container) {
		s.giveUpLogins(k.container)
	}
}

// useless reports whether a secret that nobody holds is too old for any start.
func (e *entry) useless(now time.Time, maxStale time.Duration) bool {
	if e.edition == 0 {
		return !e.refusedLately(now)
	}
	if e.issued {
		return !e.lives(now) || now.Sub(e.idle) >= maxStale
	}
	return now.Sub(e.read) >= max(maxStale, e.every)
}

// plan says what is due next for a secret that was just read or renewed, that
// got its first holder, or whose lease has lost what it hangs on.
func (s *store) plan(e *entry) {
	now := s.now()
	e.step, e.next, e.bound = lease.Keep, time.Time{}, e.hangsOn()
	if !e.issued {
		e.step, e.next = lease.Replace, s.nextRead(e, now)
	}
	if e.edition == 0 || e.current.Lease.ID == "" && !e.issued {
		return
	}
	step, after := lease.Plan(e.terms(now), lease.Floor, s.jitter())
	if at := now.Add(after); step != lease.Keep && (e.next.IsZero() || at.Before(e.next)) {
		e.step, e.next = step, at
	}
}

// nextRead is when to read again what others may change. What its provider
// changes at a time that it tells is read again right after.
func (s *store) nextRead(e *entry, now time.Time) time.Time {
	from := e.read
	if e.edition == 0 {
		from = now
	}
	at := from.Add(lease.RefreshAfter(e.every, s.jitter()))
	if ends := e.current.Lease.Ends(); e.current.Lease.ID == "" && !ends.IsZero() && ends.Before(at) {
		return later(ends.Add(time.Second), from.Add(lease.Floor))
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// terms are those of an entry's lease.
func (e *entry) terms(now time.Time) lease.Terms {
	held := e.current.Lease
	return lease.Terms{
		TTL: held.TTL, Full: e.granted, Renewable: held.Renewable && held.ID != "", Age: now.Sub(held.IssuedAt),
		Bounded: !e.bound.IsZero(), Left: e.bound.Sub(now),
	}
}

// beginRenewal asks for more time for an entry's lease. The caller has locked
// s.mu.
func (s *store) beginRenewal(ctx context.Context, e *entry) {
	leaser, old := e.provider.(providers.Leaser), e.current.Lease
	e.renewing = true
	s.fetches.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, fetchPatience)
		defer cancel()
		lane := s.lanes[e.ref.Provider]
		renewed, err := old, lane.enter(ctx)
		if err == nil {
			defer lane.leave()
			renewed, err = leaser.Renew(ctx, old)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		e.renewing = false
		if s.entries[e.key()] == e && e.current.Lease.ID == old.ID { // else a start has got a new one
			s.renewed(e, renewed, err)
		} else if err == nil {
			s.prolong(e, renewed)
		}
		s.wakeUp()
	})
}

// prolong notes the new end of a lease that was replaced, or given up, while it
// was renewed: what is thought to have ended is not revoked.
func (s *store) prolong(e *entry, renewed secret.Lease) {
	for i := range e.retired {
		if e.retired[i].ID == renewed.ID {
			e.retired[i] = renewed
		}
	}
	for _, l := range s.loose {
		if l.lease.ID == renewed.ID {
			l.ends = renewed.Ends()
		}
	}
}

// renewed plans what follows from a renewal. One that the provider refused is
// followed by a new secret; one that nobody answered is repeated.
func (s *store) renewed(e *entry, renewed secret.Lease, err error) {
	switch {
	case err == nil:
		e.current.Lease, e.failures = renewed, 0
		s.plan(e)
	case errors.Is(err, providers.ErrUnavailable):
		e.failures++
		s.retry(e, lease.Renew, s.pause(e.failures))
	default:
		s.retry(e, lease.Replace, 0)
		return // that it is replaced is no trouble
	}
	s.report(e, err)
}

// pause is how long to wait after failures in a row that nobody answered for.
func (s *store) pause(failures int) time.Duration {
	return max(backoff.First/2, backoff.Delay(failures, s.jitter()))
}

func (s *store) retry(e *entry, failed lease.Step, delay time.Duration) {
	now := s.now()
	step, after := lease.Retry(e.terms(now), failed, delay, lease.Floor, s.jitter())
	e.step, e.next = step, now.Add(after)
}

// report tells of a held secret that can no longer be kept fresh, or can be
// again; of one that was never read there is nothing to tell (it is optional).
func (s *store) report(e *entry, err error) {
	troubled := err != nil && e.edition > 0
	if troubled != e.troubled {
		e.troubled = troubled
		s.tell(e.ref, err)
	}
}
