package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// land keeps what a flight brought, and tells those who wait for it.
func (s *store) land(f *flight, fetched secret.Secret, err error, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, f.key())
	e := s.entries[f.key()]
	switch {
	case err == nil && e == nil: // its container went away meanwhile
		fetched.Wipe()
		s.giveUp(f.origin, fetched.Lease)
	case err == nil:
		err = s.replace(e, fetched, asked)
	case e != nil:
		s.refuse(e, err)
	}
	if e != nil && f.kept {
		s.report(e, err)
	}
	s.wakeUp() // what is held has a new date
	f.err = err
	close(f.done)
}

// replace keeps what was read.
func (s *store) replace(e *entry, fetched secret.Secret, asked time.Time) error {
	if grown := s.size + size(fetched) - size(e.current); grown > maxHeld && !s.makeRoom(grown-maxHeld, e) {
		fetched.Wipe()
		s.giveUp(e.origin, fetched.Lease)
		return fmt.Errorf("%w: the agent holds %d MiB of secrets for its containers already, which is the limit",
			providers.ErrUnavailable, maxHeld>>20)
	}
	e.retire(fetched.Lease, s.now())
	changed := e.edition == 0 || !e.current.Equal(fetched)
	if changed {
		s.size += size(fetched) - size(e.current)
		s.bury(e.current)
		e.edition++
	} else {
		fetched.Wipe()
		fetched.Fields = e.current.Fields
	}
	if changed || e.refused != nil || e.silence != nil {
		s.change()
	}
	e.current, e.read, e.granted = fetched, asked, fetched.Lease.TTL
	e.failures, e.refused, e.silence = 0, nil, nil
	s.plan(e)
	s.touch(e.container)
	s.uncache()
	return nil
}

// retire keeps the lease of the value that is replaced, for revocation with
// its container: until it ends, the container may still use what it was for.
func (e *entry) retire(by secret.Lease, now time.Time) {
	e.retired = slices.DeleteFunc(e.retired, func(l secret.Lease) bool { return !l.Ends().IsZero() && !l.Ends().After(now) })
	if old := e.current.Lease; old.ID != "" && old.ID != by.ID {
		e.retired = append(e.retired, old)
	}
}

// makeRoom drops secrets that nobody holds, oldest first but not the one that
// needs the room, and reports whether that frees so many bytes.
func (s *store) makeRoom(bytes int, needs *entry) bool {
	for bytes > 0 {
		var oldest *entry
		for k, e := range s.entries {
			if e != needs && len(e.holders) == 0 && s.flights[k] == nil && !e.renewing && (oldest == nil || e.read.Before(oldest.read)) {
				oldest = e
			}
		}
		if oldest == nil {
			return false
		}
		bytes -= size(oldest.current)
		s.remove(oldest)
	}
	return true
}

// refuse notes that a read failed, and when to try again: at the next interval
// where the provider decided, and soon where nobody did. A login that cannot be
// replaced may yet be renewed.
func (s *store) refuse(e *entry, err error) {
	s.change()
	now, delay := s.now(), e.every
	if errors.Is(err, providers.ErrUnavailable) {
		e.failures++
		e.silence = cmp.Or(e.silence, err) // the first says how it began, and is told of once
		delay = s.pause(e.failures)
	} else {
		e.refused, e.refusal = err, now
	}
	switch {
	case !e.issued || e.edition == 0:
		e.next = now.Add(delay)
	case e.step == lease.Replace:
		s.retry(e, lease.Replace, delay)
	}
}
