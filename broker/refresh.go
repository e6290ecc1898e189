package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/rotation"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

const (
	// housekeeping is how long the loop sleeps at most.
	housekeeping = 30 * time.Second
	// together is how long a swap waits for other reads that began with its own.
	together = 2 * time.Second
	// pruneAfter is how long a generation stays readable after a swap, for a
	// reader who has begun to read it.
	pruneAfter = 10 * time.Second
	// startPatience is how long after passing its gate a container must have
	// started. It is generous: its end would wipe the tree of a slow starter.
	startPatience = 10 * time.Minute
	// strayPatience is the same for a container whose gate was an earlier
	// agent's. Most such trees belong to containers that ended meanwhile.
	strayPatience = time.Minute
)

// keepFresh keeps the store's secrets fresh and swaps the trees of those
// containers whose secrets changed.
func (b *Broker) keepFresh(ctx context.Context) error {
	for {
		reads, next := b.store.keep(ctx)
		gather(ctx, reads)
		b.updateAll(ctx)
		b.sweep(ctx)
		next = earlier(next, b.tidyUp(ctx))
		b.note()
		wait := housekeeping
		if until := next.Sub(b.Now()); !next.IsZero() && until < wait {
			wait = max(until, 0)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.store.wake:
		case <-time.After(wait):
		}
	}
}

// gather waits for reads that were begun together, so that what has changed at
// one time reaches a container in one swap. A slow provider holds up the others
// no longer than together.
func gather(ctx context.Context, reads []*flight) {
	ctx, cancel := context.WithTimeout(ctx, together)
	defer cancel()
	for _, read := range reads {
		select {
		case <-read.done:
		case <-ctx.Done():
			return
		}
	}
}

// earlier is the earlier of two times, of which either may be zero for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// tellTrouble tells that a held secret can no longer be kept fresh, or can be
// again.
func (b *Broker) tellTrouble(ref secret.Ref, err error) {
	if err != nil {
		b.Log.Warn("a held secret could not be read again; containers keep what they have", "ref", ref.String(), "error", err)
		return
	}
	b.Log.Info("a held secret can be read again", "ref", ref.String())
}

// updateAll swaps the trees whose secrets changed. It reads nothing, so no
// provider can hold it up.
func (b *Broker) updateAll(ctx context.Context) {
	for _, s := range b.outdated() {
		switch err := b.update(s); {
		case errors.Is(err, errPending): // it will be read
		case errors.Is(err, errUnprepared):
			if b.beginTakeUp(s) {
				b.tasks.Go(func() { b.takeUp(ctx, s) })
			}
		default:
			b.noteUpdate(s, err)
		}
	}
}

// errUnprepared says that it is not known where a secret of a container is read.
var errUnprepared = errors.New("it is not held for the container yet")

func (b *Broker) beginTakeUp(s *served) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.taking || b.taking >= laneWidth || b.Now().Before(s.takeAt) {
		return false
	}
	s.taking = true
	b.taking++
	return true
}

// takeUp has the store keep what a running container needs that passed the gate
// of an earlier agent, or whose template names other refs than before.
func (b *Broker) takeUp(ctx context.Context, s *served) {
	defer b.endTakeUp(s)
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	items, err := b.prepare(ctx, s)
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the agent ends
	}
	refused := oneLine(problems(items))
	if err == nil && refused != nil {
		err = b.refuseUpdate(s, items, refused)
	}
	if err != nil {
		b.noteUpdate(s, err)
	}
}

func (b *Broker) endTakeUp(s *served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.taking, s.takeAt = false, b.Now().Add(b.store.pause(1))
	b.taking--
	b.store.wakeUp()
}

// noteUpdate tells, once, of an update that failed.
func (b *Broker) noteUpdate(s *served, err error) {
	if errors.Is(err, errWentAway) {
		return
	}
	before := b.failing(s)
	b.setFailing(s, err)
	if now := b.failing(s); now != "" && now != before {
		b.Log.Warn("a container could not be given its new secrets and keeps what it has", "container", s.facts.Name, "error", err)
	}
}

// refuseUpdate records why a container's update is refused, when that begins.
func (b *Broker) refuseUpdate(s *served, items []item, refused error) error {
	if refused.Error() != b.failing(s) {
		if err := b.record(s, audit.Rotated, items, true); err != nil {
			return err
		}
	}
	return refused
}

func (b *Broker) failing(s *served) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return s.failing
}

func (b *Broker) setFailing(s *served, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.failing = ""
	if err != nil {
		s.failing = err.Error()
	}
}

// outdated returns the running containers whose trees are not known to hold
// the editions that the store holds, and drops old generations that no reader
// needs any more.
func (b *Broker) outdated() (out []*served) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, s := range b.served {
		if !s.pruneAt.IsZero() && !s.pruneAt.After(b.Now()) {
			s.pruneAt = time.Time{}
			if err := b.Trees.Prune(id); err != nil {
				b.Log.Error("an old generation could not be removed", "container", s.facts.Name, "error", err)
			}
		}
		if s.started && !s.taking && (s.editions == nil || !maps.Equal(s.editions, b.store.editions(s.keys, s.editions))) {
			out = append(out, s)
		}
	}
	return out
}

// update writes a new generation for one running container, if it would be
// another one than that which the container has.
func (b *Broker) update(s *served) error {
	items, err := b.weighAgain(s)
	defer wipe(items, workload.File)
	defer wipe(items, workload.Variable)
	if refused := oneLine(problems(items)); err == nil && refused != nil {
		err = b.refuseUpdate(s, items, refused)
	}
	if err != nil {
		return err
	}
	bundle, editions := bundleOf(items)
	change, err := b.compare(s, bundle)
	if err == nil && change.Files {
		err = b.settle(s, audit.Rotated, items)
	}
	if err != nil {
		return err
	}
	return b.swap(s, bundle.Files, editions, change)
}

// compare says what an update would change. Variables are compared with those
// that the process began with, where that is known: nothing but a new run
// brings others.
func (b *Broker) compare(s *served, bundle inject.Bundle) (change rotation.Change, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.facts.ID] != s {
		return change, errWentAway
	}
	same, err := b.Trees.Holds(s.facts.ID, bundle.Files)
	if err != nil {
		return change, fmt.Errorf("what it has could not be read: %w", err)
	}
	return rotation.Change{Files: !same, Variables: s.variables != "" && s.variables != b.sum(bundle.Variables)}, nil
}

// swap makes the update, unless the container has ended or begun again.
func (b *Broker) swap(s *served, files []inject.File, editions map[key]int, change rotation.Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.facts.ID] != s {
		return errWentAway
	}
	if change.Files {
		if _, err := b.Trees.Swap(s.facts.ID, files); err != nil {
			return fmt.Errorf("its secrets could not be written: %w", err)
		}
		s.pruneAt = b.Now().Add(pruneAfter)
		b.Log.Info("secrets rotated", "container", s.facts.Name, "id", s.facts.ID, "files", len(files))
	}
	s.editions = editions
	if rotation.Calls(s.wants.OnRotate, change) {
		b.owe(s)
	}
	return nil
}

// sweep wipes what was made for containers that passed a gate and then never
// started: the engine reports no event of that.
func (b *Broker) sweep(ctx context.Context) {
	late := b.late()
	if len(late) == 0 {
		return
	}
	running, err := b.Engine.Running(ctx)
	if err != nil {
		b.Log.Debug("running containers could not be listed", "error", err)
		return
	}
	for id, s := range late {
		switch runs := slices.ContainsFunc(running, func(f workload.Facts) bool { return f.ID == id }); {
		case !runs:
			b.end(id, s)
		case s != nil:
			b.markStarted(s) // its event did not count: the clock was set back between gate and start
		default:
			b.forgetStray(id) // it started after all, but its labels are not for this agent: nothing to ask again
		}
	}
}

func (b *Broker) forgetStray(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.strays, id)
}

// late returns, by ID, the containers that should have started by now; nil
// stands for a run that an earlier agent served.
func (b *Broker) late() map[string]*served {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, late := b.Now(), map[string]*served{}
	for id, s := range b.served {
		if !s.started && now.Sub(s.since) > startPatience {
			late[id] = s
		}
	}
	for id, seen := range b.strays {
		if now.Sub(seen) > strayPatience {
			late[id] = nil
		}
	}
	return late
}
