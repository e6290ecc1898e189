package broker

import (
	"slices"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// phase is how far a run has come, as far as is known. Events of the engine come
// later than its gates, so that the end of one run may be reported when the next
// has passed its gate: the phase says which events are about a run, and which
// are about the one before it.
type phase int

const (
	// runDoubted: its volume is mounted, for one of several containers. Nothing
	// that is told of any of them is about this run, until one is seen with it.
	runDoubted phase = iota
	// runPassed: it has passed its gate. What happened before that was another run.
	runPassed
	// runBegun: the engine has said so. All that is told now is about it.
	runBegun
)

// phase is for a caller who has locked the broker.
func (s *served) phase() phase {
	switch {
	case len(s.others) > 0:
		return runDoubted
	case s.started:
		return runBegun
	}
	return runPassed
}

// isAbout reports whether the event is about this run of its container. Locked
// as phase is.
func (s *served) isAbout(event inject.Event) bool {
	switch s.phase() {
	case runDoubted:
		return false
	case runBegun:
		return true
	}
	return !event.At.Before(s.since)
}

// endsWith reports whether the end that is reported is that of this run. The
// engine mounts volumes well before the container starts, when the end of the
// run before may not have been reported; and of a start that fails the volume
// gate itself is told, so that end is never one of a run that has not begun.
// Locked as phase is.
func (s *served) endsWith(died inject.Event) bool {
	return s.isAbout(died) && (s.gate != inject.GateVolume || s.phase() == runBegun)
}

// mayBe reports whether a run is served for one of several containers, of which
// this may be the one. Locked as phase is.
func (s *served) mayBe(container string) bool {
	isIt := func(f workload.Facts) bool { return f.ID == container }
	return s.phase() == runDoubted && (isIt(s.facts) || slices.ContainsFunc(s.others, isIt))
}

// is reports what a run is at this moment.
func (b *Broker) is(s *served, what func(*served) bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return what(s)
}
