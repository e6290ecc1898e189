package broker

import (
	"cmp"
	"errors"
	"time"
)

// errPending says that a secret is still to be read.
var errPending = errors.New("it is being read")

// offer is what a running container may be given of a secret that is held for
// it. What it has of it already is not too old for it: its other secrets must
// not wait for a provider that is away or says no. What it has not is as for a
// start.
func (e *entry) offer(has bool, now time.Time, maxStale time.Duration) answer {
	switch {
	case e.edition == 0 && e.refused == nil && e.silence == nil:
		return answer{err: errPending}
	case e.edition == 0:
		return answer{err: cmp.Or(e.refused, e.silence)}
	case has:
		return answer{held: e.held(cmp.Or(e.refused, e.silence))}
	case e.refused != nil:
		return answer{err: e.refused}
	case e.silence == nil && !e.young(now):
		return answer{err: errPending}
	case e.silence != nil && !e.serves(now, maxStale):
		return answer{err: e.silence}
	}
	return answer{held: e.held(e.silence)}
}

// offer is what a container that runs with these editions may be given of a
// secret.
func (s *store) offer(k key, has map[key]int) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offerLocked(k, has)
}

func (s *store) offerLocked(k key, has map[key]int) answer {
	e := s.entries[k]
	if e == nil {
		return answer{err: errPending} // its container has ended
	}
	return e.offer(has[k] > 0, s.now(), s.maxStale)
}

// editions returns the edition of each of the keys that a container which runs
// with these editions may be given now.
func (s *store) editions(keys []key, has map[key]int) map[key]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := map[key]int{}
	for _, k := range keys {
		if answer := s.offerLocked(k, has); answer.err == nil {
			now[k] = answer.held.edition
		}
	}
	return now
}
