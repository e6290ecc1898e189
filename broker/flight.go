package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

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
		checksFirst := f.kept && s.byVersion[f.ref.Provider] // what is not to be read should not be in a batch
		if batcher, batches := f.provider.(providers.Batcher); batches && !checksFirst {
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
		if e.refused != nil || e.silence != nil {
			s.change()
		}
		e.read, e.failures, e.refused, e.silence = asked, 0, nil, nil
		s.uncache()
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

// close begins no more reads and waits for those that are under way.
func (s *store) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.fetches.Wait()
}
