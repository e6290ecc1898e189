package broker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/rotation"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// strategyPatience bounds one attempt to apply a strategy. A restart waits as
// long as the container takes to stop.
const strategyPatience = 5 * time.Minute

// owe notes that a container's strategy is to be applied. The caller has
// locked b.mu.
func (b *Broker) owe(s *served) {
	s.owed = true
	select {
	case b.debts <- struct{}{}:
	default: // it is known that there is something
	}
}

// react applies strategies, beside the loop that keeps secrets fresh: a
// container may take its time. A strategy that failed is tried again.
func (b *Broker) react(ctx context.Context) error {
	failures := 0
	for {
		var again <-chan time.Time
		if failures > 0 {
			again = time.After(b.store.pause(failures))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.debts:
		case <-again:
		}
		if b.settleDebts(ctx) {
			failures = 0
		} else {
			failures++
		}
	}
}

// settleDebts applies what is owed, one container after the other, and reports
// whether nothing is left. Signals go first: they take no time.
func (b *Broker) settleDebts(ctx context.Context) (settled bool) {
	settled = true
	for _, s := range b.owed() {
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

// owed returns the running containers whose strategy is to be applied.
func (b *Broker) owed() (out []*served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.served {
		if s.owed && s.started {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(one, two *served) int {
		return strings.Compare(string(two.wants.OnRotate.Kind)+one.facts.ID, string(one.wants.OnRotate.Kind)+two.facts.ID)
	})
	return out
}

// applyStrategy applies one container's strategy, unless its run has ended. A
// change that comes meanwhile is owed anew.
func (b *Broker) applyStrategy(ctx context.Context, s *served) error {
	if !b.takeDebt(s) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, strategyPatience)
	defer cancel()
	err := rotation.Apply(ctx, b.Engine, s.facts.ID, s.wants.OnRotate)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.served[s.facts.ID] == s {
		s.owed = true
		return err
	}
	if s.wants.OnRotate.Kind == workload.StrategySignal || err == nil {
		b.Log.Info("container told of its new secrets", "container", s.facts.Name, "id", s.facts.ID, "strategy", s.wants.OnRotate.Kind)
	}
	return nil
}

func (b *Broker) takeDebt(s *served) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	owed := s.owed && b.served[s.facts.ID] == s
	s.owed = false
	return owed
}
