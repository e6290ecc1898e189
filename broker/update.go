package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/rotation"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// updateAll swaps the trees whose secrets changed. It reads nothing, so no
// provider can hold it up. It looks when there is a reason to, and now and then.
func (b *Broker) updateAll(ctx context.Context) {
	if now := b.Now(); b.store.takeChanged() || b.unfinished || !now.Before(b.looked.Add(housekeeping)) {
		b.looked, b.unfinished = now, false
	} else {
		return
	}
	for _, s := range b.outdated() {
		err := b.update(s)
		b.unfinished = b.unfinished || err != nil
		switch {
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
	for tree, s := range b.served {
		if !s.pruneAt.IsZero() && !s.pruneAt.After(b.Now()) {
			s.pruneAt = time.Time{}
			if err := b.Trees.Prune(tree); err != nil {
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
	return b.swap(s, bundle, editions, change)
}

// compare says what an update would change. Variables are compared with those
// that the process began with, where that is known: nothing but a new run
// brings others.
func (b *Broker) compare(s *served, bundle inject.Bundle) (change rotation.Change, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.tree] != s {
		return change, errWentAway
	}
	change.Variables = s.variables != "" && s.variables != b.sum(s, bundle)
	if s.task != nil {
		return change, nil
	}
	same, err := b.Trees.Holds(s.tree, bundle.Files)
	if err != nil {
		return change, fmt.Errorf("what it has could not be read: %w", err)
	}
	change.Files = !same
	return change, nil
}

// swap makes the update, unless the container has ended or begun again.
func (b *Broker) swap(s *served, bundle inject.Bundle, editions map[key]int, change rotation.Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.served[s.tree] != s {
		return errWentAway
	}
	if change.Files {
		if _, err := b.Trees.Swap(s.tree, bundle.Files); err != nil {
			return fmt.Errorf("its secrets could not be written: %w", err)
		}
		s.pruneAt = b.Now().Add(pruneAfter)
		b.Log.Info("secrets rotated", "container", s.facts.Name, "id", s.facts.ID, "files", len(bundle.Files))
	}
	s.editions = editions
	if s.task != nil { // one value is one update, also when the swarm went back and the task lives on
		s.variables = b.sum(s, bundle)
	}
	if rotation.Calls(s.wants.OnRotate, change) {
		b.owe(s)
	}
	return nil
}
