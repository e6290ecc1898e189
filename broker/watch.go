package broker

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// gateAdopted stands for the gate of a container that passed one in the time of
// an earlier agent.
const gateAdopted = "adopted"

// watch follows containers. A container's events come in order, but later than
// its gate: the beginning and the end of one run may be reported when the next
// has already passed the gate.
func (b *Broker) watch(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return b.Engine.Watch(ctx, func(event inject.Event) {
			switch event.Kind {
			case inject.Connected:
				if err := b.resync(ctx, group); err != nil {
					b.Log.Warn("running containers could not be listed", "error", err)
				}
			case inject.Started:
				b.onStarted(ctx, group, event)
			case inject.Died:
				if s := b.get(event.Container); s == nil || b.concerns(s, event) {
					b.end(event.Container, s)
				}
			case inject.Removed:
				b.end(event.Container, b.get(event.Container))
				b.store.drop(event.Container)
				b.forgetRestart(event.Container)
			}
		})
	})
	return group.Wait()
}

// concerns reports whether the event is about this run of its container: it
// happened after the run passed its gate, or comes after the event of its
// beginning.
func (b *Broker) concerns(s *served, event inject.Event) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.started || !event.At.Before(s.since)
}

func (b *Broker) hasStarted(s *served) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.started
}

func (b *Broker) markStarted(s *served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.started = true
	b.store.changeNow() // something may have changed since its gate
}

func (b *Broker) onStarted(ctx context.Context, group *errgroup.Group, event inject.Event) {
	id := event.Container
	if s := b.get(id); s != nil {
		if b.concerns(s, event) {
			b.markStarted(s)
		}
		return
	}
	facts, err := b.Engine.Facts(ctx, id, "")
	if err != nil {
		b.Log.Warn("what a container is that has started could not be learnt", "container", id, "error", err)
		return
	}
	trees, err := b.Trees.List()
	if err != nil {
		b.Log.Error("the trees could not be listed", "error", err)
		return
	}
	b.meet(ctx, group, facts, slices.Contains(trees, id))
}

// resync brings what the broker knows in line with what runs, after a gap in
// the events: at the agent's start, or when the engine was away.
func (b *Broker) resync(ctx context.Context, group *errgroup.Group) error {
	asked := b.Now()
	running, err := b.Engine.Running(ctx)
	if err != nil {
		return err
	}
	trees, err := b.Trees.List()
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, facts := range running {
		alive[facts.ID] = true
		if s := b.get(facts.ID); s != nil {
			if b.concerns(s, inject.Event{At: asked}) { // else it is a run before this one that was seen
				b.markStarted(s)
			}
			continue
		}
		b.meet(ctx, group, facts, slices.Contains(trees, facts.ID))
	}
	for _, id := range trees {
		if alive[id] {
			continue
		}
		if s := b.get(id); s == nil {
			b.noteStray(id)
		} else if b.hasStarted(s) {
			b.end(id, s)
		}
	}
	b.store.disinherit(func(id string) bool { return !alive[id] && !slices.Contains(trees, id) })
	return nil
}

// noteStray leaves the tree of a container that does not run for a while: it
// may have passed the gate of an agent that has just ended, and be about to
// start.
func (b *Broker) noteStray(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, noted := b.strays[id]; !noted {
		b.strays[id] = b.Now()
	}
}

// meet takes up a running container that this agent has not let through a gate
// itself. With a tree it passed the gate of an earlier agent: the tree is kept
// and kept fresh. Without, it passed none.
func (b *Broker) meet(ctx context.Context, group *errgroup.Group, facts workload.Facts, hasTree bool) {
	if !workload.Labelled(facts.Labels) {
		return
	}
	if !hasTree {
		b.reportUngated(ctx, group, facts)
		return
	}
	wants, err := workload.ParseLabels(facts.Labels, workload.Attest(facts))
	if err != nil {
		b.Log.Warn("a running container is no longer kept fresh", "container", facts.Name, "error", err)
		return
	}
	if b.adopt(facts, wants) {
		b.Log.Info("container adopted", "container", facts.Name, "id", facts.ID)
		b.store.changeNow()
	}
}

// adopt serves a container as it runs, unless its next run has passed a gate
// meanwhile. The earlier agent may have left an old generation in the tree.
func (b *Broker) adopt(facts workload.Facts, wants workload.Wants) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[facts.ID] != nil {
		return false
	}
	now := b.Now()
	noted := b.memos[facts.ID]
	facts.User = noted.User
	s := &served{facts: facts, wants: wants, gate: gateAdopted, since: now, started: true, pruneAt: now.Add(pruneAfter), variables: noted.Variables}
	b.serve(s)
	if noted.Owed {
		b.owe(s)
	}
	return true
}

// reportUngated tells, once for each run, of a labelled container that came up
// without passing a gate. It is never given its secrets afterwards: its first
// instruction has already run without them.
func (b *Broker) reportUngated(ctx context.Context, group *errgroup.Group, facts workload.Facts) {
	b.mu.Lock()
	known := b.ungated[facts.ID]
	b.ungated[facts.ID] = true
	b.mu.Unlock()
	if known {
		return
	}
	b.Log.Error("a labelled container runs WITHOUT its secrets: it passed no gate",
		"container", facts.Name, "id", facts.ID, "image", facts.Image, "stopped", b.RequireGate,
		"remedy", "quaymaster install docker-runtime, then create it with --runtime quaymaster, or make that the default")
	if err := b.Audit.Record(about(facts, audit.Ungated)); err != nil {
		b.Log.Error("audit", "error", err)
	}
	if !b.RequireGate {
		return
	}
	group.Go(func() error { // not on the watch: an unwilling container takes its time to stop
		if err := b.Engine.Stop(ctx, facts.ID); err != nil {
			b.Log.Error("a container that passed no gate could not be stopped", "container", facts.Name, "error", err)
		}
		return nil
	})
}
