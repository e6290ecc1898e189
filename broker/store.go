package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// fetchPatience bounds one read of a provider.
const fetchPatience = 20 * time.Second

// store keeps the secrets that workloads hold, in memory. All who need the
// same secret share one read of its provider. A secret is identified by its
// whole ref: one read serves all of its fields.
type store struct {
	providers map[string]providers.Provider
	fresh     time.Duration // a held secret younger than this is used as it is
	maxStale  time.Duration // one younger than this is used while its provider is unavailable
	now       func() time.Time

	mu      sync.Mutex
	entries map[string]*entry
	flights map[string]*flight
	fetches sync.WaitGroup

	// wake receives when there is something new for keepFresh: a secret that
	// is to be read again, or one that has got another value than before.
	wake chan struct{}
}

// entry is one held secret.
type entry struct {
	ref     secret.Ref
	current secret.Secret
	read    time.Time       // when current was last known to be the provider's
	edition int             // grows with every change of current; zero: nothing was read yet
	holders map[string]bool // container IDs
	next    time.Time       // when to read it again
	failing bool            // the last read at its interval failed
}

// flight is one read of a provider that is under way.
type flight struct {
	done chan struct{}
	err  error
}

// held is what the store hands out.
type held struct {
	secret  secret.Secret
	edition int
	stale   error // why the provider could not confirm it just now
}

func newStore(byName map[string]providers.Provider, fresh, maxStale time.Duration, now func() time.Time) *store {
	return &store{
		providers: byName, fresh: fresh, maxStale: maxStale, now: now,
		entries: map[string]*entry{}, flights: map[string]*flight{},
		wake: make(chan struct{}, 1),
	}
}

// hold says that the container needs ref, so that the secret is kept, and read
// again from next on, until release.
func (s *store) hold(container string, ref secret.Ref, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := ref.Whole().String()
	if s.entries[key] == nil {
		s.entries[key] = &entry{ref: ref.Whole(), holders: map[string]bool{}}
	}
	e := s.entries[key]
	if len(e.holders) == 0 {
		e.next = next
		s.wakeUp()
	}
	e.holders[container] = true
}

// release ends what hold began, for all secrets of the container.
func (s *store) release(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		delete(e.holders, container)
	}
}

// get returns the secret: what is held and fresh, else what the provider says,
// else what is held and not too stale. The caller holds ref.
func (s *store) get(ctx context.Context, ref secret.Ref) (held, error) {
	key := ref.Whole().String()
	s.mu.Lock()
	if e := s.entries[key]; e.younger(s.now(), s.fresh) {
		defer s.mu.Unlock()
		return e.held(nil), nil
	}
	s.mu.Unlock()

	err := s.fetch(ctx, ref.Whole())
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[key]
	if err == nil && e != nil {
		return e.held(nil), nil
	}
	if errors.Is(err, providers.ErrUnavailable) && e.younger(s.now(), s.maxStale) {
		return e.held(err), nil
	}
	if err == nil {
		err = fmt.Errorf("%w: the container went away meanwhile", providers.ErrUnavailable)
	}
	return held{}, err
}

// younger reports whether a value is held that was read less than limit ago.
func (e *entry) younger(now time.Time, limit time.Duration) bool {
	return e != nil && e.edition > 0 && now.Sub(e.read) < limit
}

func (e *entry) held(stale error) held {
	return held{secret: e.current, edition: e.edition, stale: stale}
}

// fetch reads the provider, or waits for a read that is already under way. A
// caller that gives up does not end the read: others may wait for it.
func (s *store) fetch(ctx context.Context, ref secret.Ref) error {
	provider, known := s.providers[ref.Provider]
	if !known {
		return fmt.Errorf("%w: there is no provider %q in the configuration", providers.ErrInvalid, ref.Provider)
	}
	key := ref.String()
	s.mu.Lock()
	f := s.flights[key]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.flights[key] = f
		s.fetches.Go(func() { s.fly(ctx, provider, ref, f) })
	}
	s.mu.Unlock()

	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", providers.ErrUnavailable, ctx.Err())
	}
}

// patience is how long a read may take that is made for ctx: a little less
// than its caller waits, so that the caller learns the provider's reason.
func patience(ctx context.Context) time.Duration {
	deadline, limited := ctx.Deadline()
	if !limited {
		return fetchPatience
	}
	return min(fetchPatience, time.Until(deadline)/10*9)
}

// fly makes one read and keeps what it brought.
func (s *store) fly(ctx context.Context, provider providers.Provider, ref secret.Ref, f *flight) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience(ctx))
	defer cancel()
	asked := s.now()
	fetched, err := provider.Fetch(ctx, ref)

	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, ref.String())
	if e := s.entries[ref.String()]; e != nil && err == nil {
		s.replace(e, fetched, asked)
	}
	f.err = err
	close(f.done)
}

// replace keeps what was read. The old value is not wiped: a delivery may be
// writing it at this moment.
func (s *store) replace(e *entry, fetched secret.Secret, read time.Time) {
	same := e.edition > 0 && e.current.Equal(fetched)
	first := e.edition == 0
	e.current, e.read = fetched, read
	if same {
		return
	}
	e.edition++
	if first {
		return
	}
	s.wakeUp()
}

// wakeUp lets whoever waits on wake look again.
func (s *store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look already
	}
}

// schedule says when a secret that was just read again, with this error or
// none, is to be read next. It reports whether that went otherwise than the
// time before; nothing changes for what was never read (it is optional).
func (s *store) schedule(ref secret.Ref, err error, next time.Time) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[ref.Whole().String()]
	if e == nil {
		return false
	}
	failing := err != nil && e.edition > 0
	changed = failing != e.failing
	e.failing, e.next = failing, next
	return changed
}

// due returns the refs of held secrets whose time has come, and when to ask
// next (zero: nothing is scheduled). Secrets that nobody holds are wiped once
// they are too old to serve a start.
func (s *store) due() (refs []secret.Ref, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for key, e := range s.entries {
		if len(e.holders) == 0 {
			if now.Sub(e.read) >= max(s.maxStale, s.fresh) && s.flights[key] == nil {
				e.current.Wipe()
				delete(s.entries, key)
			}
			continue
		}
		if !e.next.After(now) {
			refs = append(refs, e.ref)
		} else if next.IsZero() || e.next.Before(next) {
			next = e.next
		}
	}
	return refs, next
}

// editions returns, for each of the refs that is held, the edition that is
// held now, by the key of the whole ref.
func (s *store) editions(refs []secret.Ref) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := map[string]int{}
	for _, ref := range refs {
		key := ref.Whole().String()
		if e := s.entries[key]; e != nil && e.edition > 0 {
			now[key] = e.edition
		}
	}
	return now
}

// close waits for the reads that are under way.
func (s *store) close() { s.fetches.Wait() }
