package broker

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

const (
	// refusalFor is how long a provider's no is held, so that a container that
	// its engine restarts again and again does not ask each time.
	refusalFor = 2 * time.Second
	// maxHeld bounds what all values take together, in bytes.
	maxHeld = 64 << 20
)

// backoff is the wait between reads that failed because nobody answered.
var backoff = lease.Backoff{First: 2 * time.Second, Max: 30 * time.Second}

// store keeps the secrets that workloads hold, in memory. All who need the
// same secret share one read of its provider (flight.go). A secret is
// identified by its whole ref: one read serves all of its fields. What is made
// for the one who reads it, or read in a container's own name, belongs to that
// container alone.
//
// A held secret has three ages. Young, it is used as it is. Past its interval,
// it is still used, and read again behind the start that found it so: the
// advisory window. Older, a start waits for the read. When that fails because
// nobody answers, what is held serves until it is too stale.
type store struct {
	maxStale time.Duration // how old a held secret may serve a start while its provider is unavailable
	now      func() time.Time
	jitter   func() float64
	lanes    map[string]*lane // by provider name
	// byVersion are the providers that are asked for a secret's version before
	// it is read again, by name.
	byVersion map[string]bool
	tell      func(ref secret.Ref, err error) // of a change in how keeping a secret fresh goes

	mu      sync.Mutex
	entries map[key]*entry
	flights map[key]*flight
	size    int // bytes of all current values
	graves  []grave
	loose   []*looseEnd
	logins  map[string]map[providers.Delegator]origin // that may have been made, by container
	former  map[string][]former                       // leases that containers had from an earlier agent
	touched map[string]bool                           // containers of which there is something to be noted
	readers map[int]bool                              // deliveries that read values now, by number
	number  int                                       // of the last of them
	fetches sync.WaitGroup
	closed  bool // nothing is read any more
	changed bool // what running containers may be given may be something else by now

	// uncached receives when the boot cache may have something else than it
	// should.
	uncached chan struct{}
	// wake receives when there is something new for keepFresh: a secret that
	// is to be read again, or one that has got another value than before.
	wake chan struct{}
}

// key names one held secret: its whole ref and, where it belongs to one
// container alone, that container.
type key struct{ ref, container string }

// origin says where a secret is read, and whose it is.
type origin struct {
	ref       secret.Ref // whole
	provider  providers.Provider
	container string // whose it is alone; empty: it is shared
	issued    bool   // each read makes another one
	// delegator is not nil when the secret is read in the container's own name.
	delegator providers.Delegator
}

func (o origin) key() key { return key{ref: o.ref.String(), container: o.container} }

// former is a lease that an earlier agent had for a container.
type former struct {
	origin
	lease secret.Lease
}

// entry is one held secret.
type entry struct {
	origin
	current secret.Secret
	read    time.Time                // when current was last known to be the provider's
	edition int                      // grows with every change of current; zero: nothing was read yet
	holders map[string]time.Duration // by tree: how often each wants it read again
	every   time.Duration            // how often the most eager holder does, or did
	// keepers are the containers for which the boot cache has it, by ID, however
	// long they are stopped.
	keepers map[string]bool
	retired []secret.Lease // of earlier values, which may still be in use
	granted time.Duration  // the TTL that current was issued with, before any renewal

	step     lease.Step // what to do at next
	next     time.Time  // zero: nothing
	bound    time.Time  // the end of what its lease hangs on that next was chosen for
	renewing bool
	failures int       // reads and renewals in a row that nobody answered
	refused  error     // what the provider decided against it
	refusal  time.Time // when it did
	silence  error     // why reads have failed since nobody answers
	troubled bool      // the last attempt of keepFresh failed, which was told
	idle     time.Time // when its last holder left
}

// held is what the store hands out.
type held struct {
	secret  secret.Secret
	edition int
	stale   error // why the provider could not confirm it just now
}

// holding is one secret that a container needs.
type holding struct {
	origin
	refresh time.Duration
	soon    bool   // it is read at once when it was never read: no start reads it
	keeper  string // the container for which the boot cache has it; empty: it does not
}

func newStore(o Options, tell func(secret.Ref, error)) *store {
	s := &store{
		maxStale: o.MaxStale, now: o.Now, jitter: o.Jitter, lanes: map[string]*lane{}, tell: tell,
		byVersion: o.CheckVersions,
		entries:   map[key]*entry{}, flights: map[key]*flight{}, logins: map[string]map[providers.Delegator]origin{},
		readers: map[int]bool{}, former: map[string][]former{}, touched: map[string]bool{},
		wake: make(chan struct{}, 1), uncached: make(chan struct{}, 1),
	}
	for name := range o.Providers {
		s.lanes[name] = newLane(o.Rates[name])
	}
	return s
}

// hold says that the holder, a run of a container, needs exactly these secrets
// from now on, until the next call or release: they are kept, and read again in
// time.
func (s *store) hold(holder string, holdings []holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := map[key]bool{}
	for _, h := range holdings {
		needed[h.key()] = true
		s.holdOne(holder, h)
	}
	s.leave(holder, func(k key) bool { return !needed[k] })
	s.touch(holder)
	s.change()
}

// holdOne adds one holder; the most eager of its wants counts.
func (s *store) holdOne(holder string, h holding) {
	e := s.entries[h.key()]
	if e == nil {
		e = &entry{origin: h.origin, holders: map[string]time.Duration{}, keepers: map[string]bool{}}
		s.entries[h.key()] = e
	}
	if h.keeper != "" {
		e.keepers[h.keeper] = true
		s.uncache()
	}
	first := len(e.holders) == 0
	if before, holds := e.holders[holder]; !holds || h.refresh < before {
		e.holders[holder] = h.refresh
	}
	e.every = slices.Min(slices.Collect(maps.Values(e.holders)))
	if first && e.failures == 0 && !e.refusedLately(s.now()) {
		s.plan(e)
		if h.soon && e.edition == 0 {
			e.step, e.next = lease.Replace, s.now()
		}
		s.wakeUp()
	}
}

// release ends what hold began. What belongs to the container alone stays for
// its next start, until drop.
func (s *store) release(holder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(holder, func(key) bool { return true })
	s.touch(holder)
}

func (s *store) leave(holder string, which func(key) bool) {
	for k, e := range s.entries {
		if _, holds := e.holders[holder]; holds && which(k) {
			delete(e.holders, holder)
			e.idle = s.now()
		}
	}
}

// change has the loop look whether running containers are up to date. The
// caller has locked s.mu.
func (s *store) change() {
	s.changed = true
	s.wakeUp()
}

func (s *store) takeChanged() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.changed
	s.changed = false
	return changed
}

// wakeUp never blocks: one token says it all.
func (s *store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// young reports whether the secret is used as it is.
func (e *entry) young(now time.Time) bool {
	if e.edition == 0 || e.refused != nil {
		return false
	}
	if e.issued {
		return e.failures == 0 && (e.next.IsZero() || now.Before(e.next)) && e.lives(now)
	}
	return now.Before(e.read.Add(e.every)) && e.lives(now)
}

// advisory reports whether the secret is used, and read again meanwhile.
func (e *entry) advisory(now time.Time) bool {
	return e.edition > 0 && !e.issued && e.failures == 0 && e.refused == nil && now.Before(e.read.Add(e.every*3/2)) && e.lives(now)
}

// serves reports whether the secret serves a start while its provider is
// unavailable.
func (e *entry) serves(now time.Time, maxStale time.Duration) bool {
	if e == nil || e.edition == 0 || !e.lives(now) {
		return false
	}
	return e.issued || now.Sub(e.read) < maxStale
}

// lives reports whether the lease of the secret, if it has one, has not ended.
func (e *entry) lives(now time.Time) bool {
	ends := e.current.Lease.Ends()
	if bound := e.hangsOn(); !bound.IsZero() && (ends.IsZero() || bound.Before(ends)) {
		ends = bound
	}
	return ends.IsZero() || now.Before(ends)
}

// hangsOn is when the lease ends because of what it hangs on; zero: no end is
// known.
func (e *entry) hangsOn() time.Time {
	if e.current.Lease.ID == "" {
		return time.Time{}
	}
	if leaser, leases := e.provider.(providers.Leaser); leases {
		return leaser.Bound(e.current.Lease)
	}
	return time.Time{}
}

func (e *entry) held(stale error) held {
	return held{secret: e.current, edition: e.edition, stale: stale}
}

func size(s secret.Secret) (bytes int) {
	for _, value := range s.Fields {
		bytes += value.Len()
	}
	return bytes
}
