package broker

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// The engine mounts a volume for a container as it sees the links of its image,
// and one through /proc means something else to it than to the container. The
// volume gate cannot see that: it answers before there is a mount. So it is
// looked at as soon as the container runs.

// lookAfter looks, beside the watch, whether a container sees what its volume
// brought it.
func (b *Broker) lookAfter(ctx context.Context, group *errgroup.Group, s *served) {
	if b.Looker == nil || s.gate != inject.GateVolume {
		return
	}
	group.Go(func() error {
		ctx, cancel := context.WithTimeout(ctx, fetchPatience)
		defer cancel()
		facts, place, err := b.unseen(ctx, s)
		switch {
		case err != nil && ctx.Err() == nil:
			b.Log.Warn("whether a container sees its secrets could not be looked at", "container", s.facts.Name, "error", err)
		case err == nil && place != "":
			b.tellUnseen(ctx, s, facts, place)
		}
		return nil
	})
}

// unseen returns where the container does not see its tree; nothing where it
// does, and where it is over.
func (b *Broker) unseen(ctx context.Context, s *served) (facts workload.Facts, place string, err error) {
	running, err := b.Engine.Running(ctx)
	if err != nil {
		return facts, "", err
	}
	for _, facts := range running {
		n := slices.IndexFunc(facts.Volumes, func(v workload.Volume) bool { return v.MountID == s.tree })
		if n < 0 || facts.Volumes[n].Target == "" {
			continue
		}
		place = facts.Volumes[n].Target
		before, err := b.Engine.Process(ctx, facts.ID)
		if err != nil || b.get(s.tree) != s {
			return facts, "", nil
		}
		seen, err := b.Looker.Sees(ctx, before.PID, s.source, place)
		if after, gone := b.Engine.Process(ctx, facts.ID); seen || gone != nil || after.PID != before.PID || b.get(s.tree) != s {
			return facts, "", nil // what was looked at was of another run
		}
		return facts, place, err
	}
	return facts, "", nil
}

func (b *Broker) tellUnseen(ctx context.Context, s *served, facts workload.Facts, place string) {
	b.mu.Lock()
	s.unseen = true
	b.mu.Unlock()
	b.Log.Error("a container runs WITHOUT its secrets: what lies at the place of its volume is something else",
		"container", facts.Name, "id", facts.ID, "image", facts.Image, "path", place, "stopped", b.RequireGate,
		"remedy", "its image or a volume has a link there that leads elsewhere, as through /proc: remove the link, or mount the volume at another directory")
	if err := b.Audit.Record(about(facts, audit.Ungated)); err != nil {
		b.Log.Error("audit", "error", err)
	}
	if b.RequireGate {
		b.stop(ctx, facts)
	}
}
