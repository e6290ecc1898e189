package providertest

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/quaymaster/quaymaster/providers"
)

func (s *suite) missing() {
	s.fails(s.Missing, providers.ErrNotFound)
}

// missingVersion asks one secret for a version that only another one has.
func (s *suite) missingVersion() {
	want := s.sample("one")
	ref := s.put("qm-missing-version", want)
	if !s.Versions {
		ref.Version = "7"
		s.fails(ref, providers.ErrInvalid, providers.ErrNotFound)
		return
	}
	var foreign string
	for _, text := range []string{"one", "two", "three"} {
		other := s.put("qm-missing-version-other", s.sample(text))
		foreign = s.reads(other, s.sample(text)).Version
	}
	ref.Version = foreign
	s.fails(ref, providers.ErrNotFound)
	ref.Version = ""
	s.reads(ref, want)
}

func (s *suite) denied() {
	s.fails(s.Denied(s.t), providers.ErrDenied)
}

// parameters: one that means nothing to the store is a mistake in the ref, and
// is found without reading the secret.
func (s *suite) parameters() {
	want := s.sample("one")
	ref := s.put("qm-parameters", want)
	before := s.Requests()
	for _, params := range []url.Values{{"qm-no-such-parameter": {"1"}}, {"qm-no-such-parameter": {""}}} {
		wrong := ref
		wrong.Params = url.Values{}
		for name, values := range ref.Params { // what the store itself needs
			wrong.Params[name] = values
		}
		for name, values := range params {
			wrong.Params[name] = values
		}
		s.fails(wrong, providers.ErrInvalid)
	}
	if n := s.Requests() - before; n != 0 {
		s.t.Errorf("%d reads for refs that cannot be right", n)
	}
	s.reads(ref, want)
}

func (s *suite) down()      { s.broken(Down) }
func (s *suite) throttled() { s.broken(Throttled) }
func (s *suite) garbage()   { s.broken(Garbage) }
func (s *suite) failing()   { s.broken(Failing) }

// broken: while nobody can decide, the provider says so, once for each time it
// is asked; afterwards it is as good as before.
func (s *suite) broken(how Fault) {
	want := s.sample("one")
	ref := s.put("qm-"+string(how), want)
	for range 2 {
		undo := s.Break(s.t, how)
		before := s.Requests()
		s.fails(ref, providers.ErrUnavailable)
		s.fails(s.Missing, providers.ErrUnavailable)
		if n := s.Requests() - before; n > 2 {
			s.t.Errorf("%d requests for 2 reads: whoever calls decides when to repeat", n)
		}
		undo()
		s.reads(ref, want)
		s.fails(s.Missing, providers.ErrNotFound)
	}
}

// slow: a caller's deadline ends a read that the store does not answer.
func (s *suite) slow() {
	want := s.sample("one")
	ref := s.put("qm-slow", want)
	s.reads(ref, want)
	undo := s.Break(s.t, Slow)
	ctx, cancel := context.WithTimeout(s.t.Context(), 100*time.Millisecond)
	defer cancel()
	found, err := s.Provider.Fetch(ctx, ref)
	s.failed(found, err, ref, providers.ErrUnavailable)
	undo()
	s.reads(ref, want)
}

// cancelled: a read that is given up ends because of that, and not because
// the store answered after all, or a time-out of the provider's own came first.
func (s *suite) cancelled() {
	want := s.sample("one")
	ref := s.put("qm-cancelled", want)
	undo := s.Break(s.t, Slow)
	ctx, cancel := context.WithCancel(s.t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	found, err := s.Provider.Fetch(ctx, ref)
	s.failed(found, err, ref, providers.ErrUnavailable)
	if !errors.Is(err, context.Canceled) {
		s.t.Errorf("%v is not because the caller gave up", err)
	}
	undo()
	s.reads(ref, want)

	before := s.Requests()
	found, err = s.Provider.Fetch(ctx, ref) // given up before it began
	s.failed(found, err, ref, providers.ErrUnavailable)
	if n := s.Requests() - before; n != 0 {
		s.t.Errorf("%d reads for a caller that had given up", n)
	}
}
