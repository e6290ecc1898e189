package broker

import (
	"context"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
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
	awake := lease.Awake{Now: b.Now, Wall: b.Wall}
	for {
		if missed := awake.Missed(); missed > 0 {
			b.store.age(missed)
		}
		reads, next := b.store.keep(ctx)
		gather(ctx, reads)
		b.updateAll(ctx)
		b.sweep(ctx)
		b.reapTasks(ctx)
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
		case <-b.Moved:
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
	for tree, s := range late {
		switch runs := slices.ContainsFunc(running, func(f workload.Facts) bool { return b.isOf(tree, f) }); {
		case !runs:
			b.end(tree, s)
		case s != nil:
			b.markStarted(s) // its event did not count: the clock was set back between gate and start
		default:
			b.forgetStray(tree) // it started after all, but its labels are not for this agent: nothing to ask again
		}
	}
}

func (b *Broker) forgetStray(tree string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.strays, tree)
}

// late returns, by tree, the runs that should have started by now; nil
// stands for one that an earlier agent served.
func (b *Broker) late() map[string]*served {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, late := b.Now(), map[string]*served{}
	for tree, s := range b.served {
		if !s.started && now.Sub(s.since) > startPatience {
			late[tree] = s
		}
	}
	for tree, seen := range b.strays {
		if now.Sub(seen) > strayPatience {
			late[tree] = nil
		}
	}
	return late
}
