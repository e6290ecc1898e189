package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/rotation"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

const (
	// strategyPatience bounds one attempt to apply a strategy. A restart waits as
	// long as the container takes to stop.
	strategyPatience = 5 * time.Minute
	// In restartSpan, one container is restarted as often as restartBurst: a
	// secret that is another one at each read would restart it for ever, and
	// somebody who changes a secret twice wants both to arrive.
	restartSpan  = 15 * time.Minute
	restartBurst = 3
)

// newDebts has one channel for each strategy that takes something to apply:
// signals take no time, and must not wait for containers that restart.
func newDebts() map[workload.StrategyKind]chan struct{} {
	return map[workload.StrategyKind]chan struct{}{
		workload.StrategySignal: make(chan struct{}, 1), workload.StrategyRestart: make(chan struct{}, 1),
		workload.StrategyUpdate: make(chan struct{}, 1),
	}
}

// owe notes that a container's strategy is to be applied. The caller has
// locked b.mu.
func (b *Broker) owe(s *served) {
	if !s.owed {
		s.owed, s.owedAt = true, b.Now()
	}
	b.store.touchNow(s.tree)
	select {
	case b.debts[s.wants.OnRotate.Kind] <- struct{}{}:
	default: // it is known that there is something
	}
}

// react applies the strategies of one kind, beside the loop that keeps secrets
// fresh: a container may take its time. A strategy that failed is tried again.
func (b *Broker) react(ctx context.Context, kind workload.StrategyKind) error {
	failures := 0
	var next time.Time // when there is something to do; zero: not known
	for {
		var again <-chan time.Time
		if !next.IsZero() {
			again = time.After(next.Sub(b.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.debts[kind]:
		case <-again:
		}
		due, later := b.owed(kind)
		if next = later; b.settleDebts(ctx, due) {
			failures = 0
			continue
		}
		failures++
		next = earlier(next, b.Now().Add(b.store.pause(failures)))
	}
}

// settleDebts applies what is owed, one container after the other, and reports
// whether nothing failed.
func (b *Broker) settleDebts(ctx context.Context, due []*served) (settled bool) {
	settled = true
	for _, s := range due {
		if ctx.Err() != nil {
			return true
		}
		if err := b.applyStrategy(ctx, s); err != nil && ctx.Err() == nil {
			settled = false
			b.Log.Warn("a container was not told of its new secrets; it will be tried again",
				"container", s.facts.Name, "strategy", s.wants.OnRotate.Kind, "error", err)
		}
	}
	return settled
}

// owed returns the running containers whose strategy is to be applied now, and
// when that of the next of the others is (zero: there is none).
func (b *Broker) owed(kind workload.StrategyKind) (due []*served, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.served {
		if !s.owed || !s.started || s.wants.OnRotate.Kind != kind {
			continue
		}
		if at := b.mayApply(s); at.After(b.Now()) {
			next = earlier(next, at)
			continue
		}
		due = append(due, s)
	}
	slices.SortFunc(due, func(one, two *served) int { return strings.Compare(one.tree, two.tree) })
	return due, next
}

// mayApply is from when on a strategy may be applied. One update serves all
// tasks of a service, so it waits for those that are just being looked at. The
// caller has locked b.mu.
func (b *Broker) mayApply(s *served) time.Time {
	switch s.wants.OnRotate.Kind {
	case workload.StrategyRestart:
	case workload.StrategyUpdate:
		if at := s.owedAt.Add(together); at.After(b.Now()) {
			return at
		}
	default:
		return time.Time{}
	}
	at := b.mayRestart(s.target())
	if at.After(b.Now()) {
		b.tellWaits(s, at)
	}
	return at
}

// target is what a strategy is applied to: a container, or the service of a
// task.
func (s *served) target() string {
	if s.task != nil {
		return s.task.ServiceID
	}
	return s.facts.ID
}

// mayRestart is from when on a container may be restarted. The caller has
// locked b.mu.
func (b *Broker) mayRestart(id string) time.Time {
	recent := slices.DeleteFunc(b.restarted[id], func(at time.Time) bool { return b.Now().Sub(at) >= restartSpan })
	b.restarted[id] = recent
	if len(recent) < restartBurst {
		return time.Time{}
	}
	return recent[0].Add(restartSpan)
}

// tellWaits tells, once for each run, of a restart that is put off. The caller
// has locked b.mu.
func (b *Broker) tellWaits(s *served, until time.Time) {
	if !s.waits {
		s.waits = true
		b.Log.Warn("a container that was restarted again and again for new secrets has new ones: its next restart waits. "+
			"A secret that is another one at each read does not go with on-rotate restart", "container", s.facts.Name, "until", until)
	}
}

// applyStrategy applies one container's strategy, unless its run has ended. A
// change that comes meanwhile is owed anew.
func (b *Broker) applyStrategy(ctx context.Context, s *served) error {
	if !b.takeDebt(s) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, strategyPatience)
	defer cancel()
	err := rotation.Apply(ctx, b.Engine, s.target(), s.wants.OnRotate)
	b.mu.Lock()
	defer b.mu.Unlock()
	s.applying = false
	b.store.touchNow(s.tree)
	switch runs := b.served[s.tree] == s; {
	case errors.Is(err, inject.ErrGone): // its tasks end
	case err != nil && runs:
		s.owed = true
		delete(b.restarted, s.target()) // it was not
		return err
	case err != nil && s.wants.OnRotate.Kind == workload.StrategyRestart:
		b.Log.Error("a container was stopped for its new secrets and may not have started again", "container", s.facts.Name, "id", s.facts.ID,
			"error", err, "remedy", "docker start "+s.facts.Name)
	case err == nil && s.task != nil:
		b.follow(*s.task)
		b.Log.Info("a service is updated for its new secrets", "service", s.task.Service)
	case err == nil:
		b.Log.Info("container told of its new secrets", "container", s.facts.Name, "id", s.facts.ID, "strategy", s.wants.OnRotate.Kind)
	}
	return nil
}

// takeDebt reports whether a container's strategy is still to be applied, and
// notes that it is being applied.
func (b *Broker) takeDebt(s *served) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	owed := s.owed && b.served[s.tree] == s
	s.owed, s.applying = false, owed
	switch kind := s.wants.OnRotate.Kind; {
	case !owed || kind == workload.StrategySignal:
		return owed
	case kind == workload.StrategyUpdate:
		for _, other := range b.served { // one update is for all tasks of the service
			other.owed = other.owed && other.target() != s.target()
		}
	}
	b.restarted[s.target()] = append(b.restarted[s.target()], b.Now())
	return owed
}

// forgetRestart is for a container that is no more.
func (b *Broker) forgetRestart(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.restarted, id)
}
