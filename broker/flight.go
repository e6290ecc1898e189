package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

const (
	// fetchPatience bounds one read of a provider.
	fetchPatience = 20 * time.Second
	// laneWidth is how many requests to one provider are under way at a time.
	laneWidth = 32
)

// lane is the way to one provider: so many requests at a time, and so many in
// a second.
type lane struct {
	slots chan struct{}
	limit *rate.Limiter
}

// newLane takes the requests a second that the provider may be asked; zero: as
// many as there are.
func newLane(perSecond int) *lane {
	l := &lane{slots: make(chan struct{}, laneWidth), limit: rate.NewLimiter(rate.Inf, 0)}
	if perSecond > 0 {
		l.limit = rate.NewLimiter(rate.Limit(perSecond), perSecond)
	}
	return l
}

// enter waits for its turn; the caller calls leave afterwards.
func (l *lane) enter(ctx context.Context) error {
	if err := l.takeSlot(ctx); err != nil {
		return fmt.Errorf("%w: too many requests to it are under way already: %w", providers.ErrUnavailable, err)
	}
	if err := l.limit.Wait(ctx); err != nil {
		l.leave()
		return fmt.Errorf("%w: the rate that the configuration sets for it is used up: %w", providers.ErrUnavailable, err)
	}
	return nil
}

func (l *lane) takeSlot(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil { // both at once: it is too late for a request
		l.leave()
		return err
	}
	return nil
}

func (l *lane) leave() { <-l.slots }

// flight is one read of a provider that is under way.
type flight struct {
	origin
	kept bool // begun by keepFresh
	done chan struct{}
	err  error
}

// answer is what became of one read.
type answer struct {
	held held
	err  error
}

// get returns the secrets of keys, in that order: what is held and young, else
// what the provider says, else what is held and not too stale. The caller
// holds them.
func (s *store) get(ctx context.Context, keys []key) []answer {
	answers := make([]answer, len(keys))
	flights := s.depart(ctx, keys)
	for i, k := range keys {
		answers[i] = s.await(ctx, k, flights[k])
	}
	return answers
}

// depart begins the reads that keys need, those of one provider together, and
// returns the flights that must be waited for.
func (s *store) depart(ctx context.Context, keys []key) map[key]*flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, awaited, begun := s.now(), map[key]*flight{}, []*flight(nil)
	for _, k := range keys {
		e := s.entries[k]
		if e == nil || awaited[k] != nil || e.young(now) || e.refusedLately(now) {
			continue
		}
		f := s.flights[k]
		if f == nil {
			f = s.newFlight(e)
			begun = append(begun, f)
		}
		if !e.advisory(now) {
			awaited[k] = f
		}
	}
	s.launch(context.WithoutCancel(ctx), patience(ctx), begun) // others may wait for it than who is the first
	return awaited
}

func (s *store) newFlight(e *entry) *flight {
	f := &flight{origin: e.origin, done: make(chan struct{})}
	s.flights[e.key()] = f
	return f
}

func (e *entry) refusedLately(now time.Time) bool {
	return e.refused != nil && now.Before(e.refusal.Add(refusalFor))
}

// await waits for a flight, if there is one, and says what is held then. A
// caller that gives up does not end the read: others may wait for it.
func (s *store) await(ctx context.Context, k key, f *flight) answer {
	var err error
	if f != nil {
		select {
		case <-f.done:
			err = f.err
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", providers.ErrUnavailable, ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[k]
	switch {
	case e == nil:
		return answer{err: fmt.Errorf("%w: the container went away meanwhile", providers.ErrUnavailable)}
	case f == nil && e.refusedLately(s.now()):
		return answer{err: e.refused}
	case err == nil:
		return answer{held: e.held(nil)}
	case errors.Is(err, providers.ErrUnavailable) && e.serves(s.now(), s.maxStale):
		return answer{held: e.held(err)}
	}
	return answer{err: err}
}

// launch sends flights off. The caller has locked s.mu.
func (s *store) launch(ctx context.Context, limit time.Duration, flights []*flight) {
	if s.closed {
		s.cancel(flights)
		return
	}
	together := map[providers.Batcher][]*flight{}
	for _, f := range flights {
		if batcher, batches := f.provider.(providers.Batcher); batches {
			together[batcher] = append(together[batcher], f)
			continue
		}
		s.fetches.Go(func() { s.fly(ctx, limit, f) })
	}
	for batcher, group := range together {
		s.fetches.Go(func() { s.flyTogether(ctx, limit, batcher, group) })
	}
}

// cancel ends flights that have not begun.
func (s *store) cancel(flights []*flight) {
	for _, f := range flights {
		delete(s.flights, f.key())
		f.err = fmt.Errorf("%w: the agent ends: start the container again when it is back", providers.ErrUnavailable)
		close(f.done)
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
func (s *store) fly(ctx context.Context, limit time.Duration, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	lane := s.lanes[f.ref.Provider]
	if err := lane.enter(ctx); err != nil {
		s.land(f, secret.Secret{}, err, s.now())
		return
	}
	defer lane.leave()
	asked := s.now()
	if f.kept && s.unchanged(ctx, f.key()) {
		s.confirm(f, asked)
		return
	}
	fetched, err := f.provider.Fetch(ctx, f.ref)
	s.land(f, fetched, err, asked)
}

// unchanged reports whether the provider says that its current version is the
// one that is held. It asks only where the configuration wants it: asking may
// take another permission than reading.
func (s *store) unchanged(ctx context.Context, k key) bool {
	s.mu.Lock()
	e := s.entries[k]
	if e == nil || e.edition == 0 || e.current.Version == "" || e.ref.Version != "" || !s.byVersion[e.ref.Provider] {
		s.mu.Unlock()
		return false
	}
	held := e.current.Version
	s.mu.Unlock()
	versioner, can := e.provider.(providers.Versioner)
	if !can {
		return false
	}
	current, err := versioner.CurrentVersion(ctx, e.ref)
	return err == nil && current == held // what cannot be told so is told by reading
}

// confirm ends a flight that found what is held to be current.
func (s *store) confirm(f *flight, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, f.key())
	if e := s.entries[f.key()]; e != nil {
		e.read, e.failures, e.refused, e.silence = asked, 0, nil, nil
		s.plan(e)
		s.report(e, nil)
	}
	s.wakeUp()
	close(f.done)
}

// flyTogether reads several secrets of one provider in one request.
func (s *store) flyTogether(ctx context.Context, limit time.Duration, batcher providers.Batcher, flights []*flight) {
	if len(flights) == 1 {
		s.fly(ctx, limit, flights[0])
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var refs []secret.Ref
	for _, f := range flights {
		refs = append(refs, f.ref)
	}
	asked := s.now()
	for i, answer := range s.batch(ctx, batcher, refs) {
		s.land(flights[i], answer.Secret, answer.Err, asked)
	}
}

// batch returns one answer for each ref, whatever happens.
func (s *store) batch(ctx context.Context, batcher providers.Batcher, refs []secret.Ref) []providers.Answer {
	lane := s.lanes[refs[0].Provider]
	if err := lane.enter(ctx); err != nil {
		return slices.Repeat([]providers.Answer{{Err: err}}, len(refs))
	}
	defer lane.leave()
	answers := batcher.FetchBatch(ctx, refs)
	if len(answers) == len(refs) {
		return answers
	}
	for _, a := range answers { // which of them is whose cannot be told
		a.Secret.Wipe()
	}
	err := fmt.Errorf("%w: asked for %d secrets in one request, it answered %d: that is a mistake in the provider %s",
		providers.ErrUnavailable, len(refs), len(answers), refs[0].Provider)
	return slices.Repeat([]providers.Answer{{Err: err}}, len(refs))
}

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
	e.current, e.read, e.granted = fetched, asked, fetched.Lease.TTL
	e.failures, e.refused, e.silence = 0, nil, nil
	s.plan(e)
	s.touch(e.container)
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

// close begins no more reads and waits for those that are under way.
func (s *store) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.fetches.Wait()
}
