package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// errUngated is why a container that came up without a gate gets nothing.
var errUngated = errors.New("the configuration says require_gate: true, so that a container which passed no gate gets nothing: create it again with the runtime gate")

// detachPatience is for taking back what was mounted for a request that may be
// over.
const detachPatience = 10 * time.Second

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
		err = b.mount(ctx, arrival, delivery)
	}
	if err != nil {
		b.end(s.tree, s)
		return err
	}
	b.markStarted(s)
	b.Log.Warn("a container got its secrets late: its first instructions ran without them", "container", s.facts.Name, "id", s.facts.ID)
	return nil
}

// mount mounts the tree into the container. A process is known by its number
// alone, which may be another's by now, of another container even: the engine
// is asked again when the mount is there, and it is taken back if it is not
// sure to be in the right place.
func (b *Broker) mount(ctx context.Context, arrival inject.Arrival, delivery inject.Delivery) error {
	if err := b.Attacher.Attach(ctx, arrival.PID, delivery.Source, delivery.Target); err != nil {
		return err
	}
	now, err := b.Engine.Process(ctx, arrival.Container)
	if err == nil && now.PID == arrival.PID {
		return nil
	}
	if err == nil {
		err = errors.New("it began again meanwhile: try again")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachPatience)
	defer cancel()
	// While the tree is still there, which is how the mount is known. What stays
	// mounted is an empty directory, once the tree is wiped.
	if failed := b.Attacher.Detach(ctx, arrival.PID, delivery.Source, delivery.Target); failed != nil {
		b.Log.Warn("a tree could not be unmounted and is wiped where it is", "container", arrival.Container, "error", failed)
	}
	return err
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
