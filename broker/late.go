package broker

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// errUngated is why a container that came up without a gate gets nothing.
var errUngated = errors.New("the configuration says require_gate: true, so that a container which passed no gate gets nothing: create it again with the runtime gate")

// Attach gives a running container that passed no gate its files after all, and
// returns what it is. Its first instructions ran without them, which is why its
// gate is called late wherever it is told of. container is an ID, the beginning of one, or a name.
func (b *Broker) Attach(ctx context.Context, container string) (Status, error) {
	arrival, err := b.Engine.Process(ctx, container)
	if err != nil {
		return Status{}, err
	}
	arrival.Gate, arrival.FilesOnly = inject.GateLate, true
	s, err := b.meetAtGate(ctx, arrival)
	if err != nil {
		return Status{}, err
	}
	if err = b.attach(ctx, arrival, s); err != nil {
		return Status{}, fmt.Errorf("container %s: %w", s.facts.Name, err)
	}
	return b.statusOf(s), nil
}

// attach is deliver for a container that runs.
func (b *Broker) attach(ctx context.Context, arrival inject.Arrival, s *served) error {
	b.attaching.Lock() // the second of two would wipe what the first has mounted
	defer b.attaching.Unlock()
	switch has := b.get(s.tree); {
	case has != nil:
		return fmt.Errorf("it has its secrets already, through the %s gate", has.gate)
	case b.RequireGate:
		return errUngated
	case !workload.Labelled(s.facts.Labels):
		return fmt.Errorf("it has no %s* label, so it asks for nothing", workload.Prefix)
	}
	delivery, err := b.deliver(ctx, arrival, s)
	if err == nil && delivery.Source == "" {
		err = errors.New("it asks for no file")
	}
	if err == nil {
		err = b.Attacher.Attach(ctx, arrival.PID, delivery.Source, delivery.Target)
	}
	if err != nil {
		b.end(s.tree, s)
		return err
	}
	b.markStarted(s)
	b.Log.Warn("a container got its secrets late: its first instructions ran without them", "container", s.facts.Name, "id", s.facts.ID)
	return nil
}

// attachLate does what Attach does for a container that was met without a gate,
// and reports it when that fails.
func (b *Broker) attachLate(ctx context.Context, group *errgroup.Group, facts workload.Facts) {
	group.Go(func() error { // not on the watch: stores take their time
		ctx, cancel := context.WithTimeout(ctx, fetchPatience)
		defer cancel()
		if _, err := b.Attach(ctx, facts.ID); err != nil && ctx.Err() == nil {
			b.tellUngated(ctx, group, facts, err)
		}
		return nil
	})
}
