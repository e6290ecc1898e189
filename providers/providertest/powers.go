package providertest

import (
	"context"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// batch: the answers of a batch are those of single reads, in order, in fewer
// requests.
func (s *suite) batch() {
	batcher, can := s.Provider.(providers.Batcher)
	if !can {
		return
	}
	if answers := batcher.FetchBatch(s.t.Context(), nil); len(answers) != 0 {
		s.t.Errorf("%d answers for no ref", len(answers))
	}
	var refs []secret.Ref
	var wants []map[string][]byte
	const n = 45 // more than any store takes in one request
	for i := range n {
		wants = append(wants, s.sample(fmt.Sprint("secret ", i)))
		refs = append(refs, s.put(fmt.Sprintf("qm-batch-%d", i), wants[i]))
	}
	refs, wants = append(refs, refs[3], refs[1]), append(wants, wants[3], wants[1])
	refs[2].Field = "ignored"
	before := s.Requests()
	answers := batcher.FetchBatch(s.t.Context(), refs)
	if reads := s.Requests() - before; reads >= n {
		s.t.Errorf("%d secrets in %d requests are no batch", n, reads)
	}
	if len(answers) != len(refs) {
		s.t.Fatalf("%d answers for %d refs", len(answers), len(refs))
	}
	for i, answer := range answers {
		if answer.Err != nil {
			s.t.Errorf("%s: %v", refs[i], answer.Err)
			continue
		}
		s.is(answer.Secret, refs[i], wants[i])
	}
	answers[3].Secret.Wipe() // which refs asks for once more
	s.is(answers[n].Secret, refs[n], wants[n])
}

// batchFailures: what fails for one ref is told for that one, and leaves the
// others alone.
func (s *suite) batchFailures() {
	batcher, can := s.Provider.(providers.Batcher)
	if !can {
		return
	}
	one, two := s.sample("one"), s.sample("two")
	a, b := s.put("qm-batch-failures-a", one), s.put("qm-batch-failures-b", two)
	wrong := a
	wrong.Params = map[string][]string{"qm-no-such-parameter": {"1"}}
	old, oldWant := a, one
	if s.Versions {
		old.Version = s.reads(a, one).Version
		one = s.sample("newer")
		s.put("qm-batch-failures-a", one)
	}
	refs := []secret.Ref{s.Missing, a, s.Denied(s.t), wrong, old, b, s.Missing}
	answers := batcher.FetchBatch(s.t.Context(), refs)
	if len(answers) != len(refs) {
		s.t.Fatalf("%d answers for %d refs", len(answers), len(refs))
	}
	for i, kind := range map[int]error{
		0: providers.ErrNotFound, 2: providers.ErrDenied, 3: providers.ErrInvalid, 6: providers.ErrNotFound,
	} {
		s.failed(answers[i].Secret, answers[i].Err, refs[i], kind)
	}
	for i, want := range map[int]map[string][]byte{1: one, 4: oldWant, 5: two} {
		if answers[i].Err != nil {
			s.t.Errorf("%s: %v", refs[i], answers[i].Err)
			continue
		}
		s.is(answers[i].Secret, refs[i], want)
	}
}

func (s *suite) batchBroken() {
	batcher, can := s.Provider.(providers.Batcher)
	if !can {
		return
	}
	refs := []secret.Ref{s.put("qm-batch-broken-a", s.sample("one")), s.put("qm-batch-broken-b", s.sample("two")), s.Missing}
	for _, how := range []Fault{Down, Throttled, Garbage, Failing, Slow} {
		undo := s.Break(s.t, how)
		ctx, cancel := context.WithCancel(s.t.Context())
		if how == Slow {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		answers := batcher.FetchBatch(ctx, refs)
		cancel()
		undo()
		if len(answers) != len(refs) {
			s.t.Fatalf("%s: %d answers for %d refs", how, len(answers), len(refs))
		}
		for i, answer := range answers {
			s.failed(answer.Secret, answer.Err, refs[i], providers.ErrUnavailable)
		}
	}
}

// currentVersion: it is the version that a read would say, found without one.
func (s *suite) currentVersion() {
	versioner, can := s.Provider.(providers.Versioner)
	if !can {
		return
	}
	seen := map[string]bool{}
	for _, text := range []string{"one", "two", "three"} {
		ref := s.put("qm-current-version", s.sample(text))
		before := s.Requests()
		version, err := versioner.CurrentVersion(s.t.Context(), ref)
		if err != nil {
			s.t.Fatalf("%s: %v", ref, err)
		}
		if n := s.Requests() - before; n != 0 {
			s.t.Errorf("%d reads of the value, to learn its version", n)
		}
		if seen[version] {
			s.t.Errorf("%s: version %q again, after a change", ref, version)
		}
		seen[version] = true
		s.wantVersion(s.reads(ref, s.sample(text)), version)
	}
	_, err := versioner.CurrentVersion(s.t.Context(), s.Missing)
	s.failed(secret.Secret{}, err, s.Missing, providers.ErrNotFound)
	for _, how := range []Fault{Down, Failing} {
		undo := s.Break(s.t, how)
		_, err := versioner.CurrentVersion(s.t.Context(), s.Missing)
		undo()
		s.failed(secret.Secret{}, err, s.Missing, providers.ErrUnavailable)
	}
}
