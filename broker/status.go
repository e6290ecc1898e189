package broker

import (
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// Status is what a container has at one gate, for people and their tools. It
// has no place for a value.
type Status struct {
	ID, Name, Image  string
	Gate             string
	Since            time.Time // when it passed
	Files, Variables []string  // by name
	Path             string    // where its files are, inside the container
	Stale            bool      // a store does not answer for something that it has
	Failing          string    // why it cannot be given what is new; empty: nothing is wrong
	Strategy         string
	Owed             bool // it was not told yet of what is new
	Ungated          bool // it runs without its secrets: it passed no gate, or does not see what that brought
}

// Containers returns the status of everything that is served, and of labelled
// containers that run without their secrets, by name.
func (b *Broker) Containers() []Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Status
	for _, s := range b.served {
		all = append(all, b.statusLocked(s))
	}
	for id, facts := range b.ungated {
		if !b.hasRunByLabels(id) {
			all = append(all, Status{ID: id, Name: facts.Name, Image: facts.Image, Ungated: true})
		}
	}
	slices.SortFunc(all, func(one, two Status) int { return strings.Compare(one.Name+one.ID, two.Name+two.ID) })
	return all
}

func (b *Broker) statusOf(s *served) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.statusLocked(s)
}

func (b *Broker) statusLocked(s *served) Status {
	status := Status{ID: s.facts.ID, Name: s.facts.Name, Image: s.facts.Image, Gate: s.gate, Since: s.since, Path: s.wants.Path,
		Stale: b.store.stale(s.keys), Failing: s.failing, Strategy: string(s.wants.OnRotate.Kind), Owed: s.owed, Ungated: s.unseen}
	for _, want := range s.wants.Items {
		if want.Kind == workload.Variable {
			status.Variables = append(status.Variables, want.Name)
		} else {
			status.Files = append(status.Files, want.Name)
		}
	}
	return status
}

// stale reports whether the store of any of these secrets does not answer.
func (s *store) stale(keys []key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(keys, func(k key) bool { e := s.entries[k]; return e != nil && e.silence != nil })
}
