package broker

import (
	"maps"
	"path"
	"reflect"
	"slices"

	"github.com/quaymaster/quaymaster/broker/memo"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

// recollect learns what the agent before this one noted of its containers.
func (b *Broker) recollect() {
	if b.Memos == nil {
		return
	}
	memos, err := b.Memos.All()
	if err != nil {
		b.Log.Warn("what an earlier agent noted of containers could not be read; leases may live on until they end by themselves",
			"error", oneLine(unjoin(err)))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, m := range memos {
		b.memos[id] = m
		b.store.inherit(id, m.Leases, b.Providers)
		if m.Task != nil {
			b.takeOverTask(m)
		}
	}
}

// note writes down what the next agent must know of those containers of which
// something has changed. The loop calls it, and Run at the end.
func (b *Broker) note() {
	for _, id := range b.store.takeTouched() {
		if b.Memos == nil {
			continue
		}
		m := b.memoOf(id)
		m.Leases = b.store.leasesOf(id)
		write := func() error { return b.Memos.Put(id, m) }
		if reflect.ValueOf(m).IsZero() {
			write = func() error { return b.Memos.Remove(id) }
		}
		if err := write(); err != nil {
			b.Log.Warn("the next agent will not know what it should of a container", "container", id, "error", err)
		}
	}
}

// memoOf is what there is to be noted of a run that is served.
func (b *Broker) memoOf(tree string) memo.Memo {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.served[tree]
	if s == nil {
		return memo.Memo{}
	}
	m := memo.Memo{Gate: s.gate, Profile: s.profile, Task: s.task, User: s.facts.User, Variables: s.variables, Owed: s.owed || s.applying}
	if s.tree != s.facts.ID && s.phase() != runDoubted { // else what becomes of one would be taken for what becomes of another
		m.Container = s.facts.ID
	}
	return m
}

// sum tells what a run's processes began with, and cannot be given anew, from
// others: its variables, or a task's secret.
func (b *Broker) sum(s *served, bundle inject.Bundle) string {
	values := []secret.Value{secret.NewValue(nil)} // not known is something else than none
	for _, v := range bundle.Variables {
		values = append(values, secret.NewValue([]byte(v.Name)), v.Value)
	}
	if s.task != nil {
		values = append(values, bundle.Files[0].Value)
	}
	return b.Audit.MAC(values...).String()
}

// inherit takes on the leases that a container had from an earlier agent. They
// are revoked when its run ends: until then it may use what they were for.
func (s *store) inherit(container string, leases []memo.Lease, known map[string]providers.Provider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range leases {
		if provider := known[l.Provider]; provider != nil {
			s.former[container] = append(s.former[container], former{
				// What is known of the ref is what the lease's ID says, which tells leases apart by its last part.
				origin: origin{ref: secret.Ref{Provider: l.Provider, Path: path.Dir(l.ID)}, provider: provider, container: container},
				lease:  secret.Lease{ID: l.ID},
			})
		}
	}
}

// giveUpFormer takes what a container had from an earlier agent for
// revocation. The caller has locked s.mu.
func (s *store) giveUpFormer(container string) {
	for _, f := range s.former[container] {
		s.giveUp(f.origin, f.lease)
	}
	delete(s.former, container)
}

// disinherit gives up what containers had from an earlier agent that neither
// run nor are about to.
func (s *store) disinherit(gone func(container string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for container := range s.former {
		if gone(container) {
			s.giveUpFormer(container)
			s.touch(container)
		}
	}
}

// touch notes that there is something new to be noted of a container. The
// caller has locked s.mu.
func (s *store) touch(container string) {
	if container != "" {
		s.touched[container] = true
		s.wakeUp()
	}
}

func (s *store) changeNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change()
}

func (s *store) touchNow(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touch(container)
}

func (s *store) takeTouched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	touched := slices.Sorted(maps.Keys(s.touched))
	clear(s.touched)
	return touched
}

// leasesOf are the leases that are a container's own and not revoked yet.
func (s *store) leasesOf(container string) (leases []memo.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(o origin, l secret.Lease) {
		if o.container == container && l.ID != "" {
			leases = append(leases, memo.Lease{Provider: o.ref.Provider, ID: l.ID})
		}
	}
	for _, e := range s.entries {
		for _, l := range append(slices.Clone(e.retired), e.current.Lease) {
			add(e.origin, l)
		}
	}
	for _, f := range s.former[container] {
		add(f.origin, f.lease)
	}
	for _, l := range s.loose {
		add(l.of, l.lease)
	}
	return leases
}
