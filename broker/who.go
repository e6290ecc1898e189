package broker

import (
	"context"
	"fmt"
	"reflect"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// Docker does not tell a volume driver for which container it mounts. Of those
// that mount the volume and do not run, several may be about to start: then
// what goes in must be the same for all of them, and which of them it was is
// known when one runs with the tree mounted.

// isDoubted reports whether a run is served that may be this container's.
func (b *Broker) isDoubted(container string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.served {
		if s.mayBe(container) {
			return true
		}
	}
	return false
}

// identify finds out whose the runs are that may be several containers'.
func (b *Broker) identify(ctx context.Context) {
	running, err := b.Engine.Running(ctx)
	if err != nil {
		b.Log.Warn("which container a volume was mounted for could not be learnt yet", "error", err)
		return
	}
	b.recognise(running)
}

// recognise says whose a run is by the tree that a running container has
// mounted.
func (b *Broker) recognise(running []workload.Facts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, facts := range running {
		for _, volume := range facts.Volumes {
			s := b.served[volume.MountID]
			if s == nil || s.phase() != runDoubted {
				continue
			}
			facts.User = s.facts.User
			s.facts, s.others = facts, nil
			b.store.touchNow(s.tree)
		}
	}
}

// checkOthers reports why a container cannot be given anything where Docker
// does not say whether it is this one that starts or another.
func (b *Broker) checkOthers(s *served) error {
	for _, other := range s.others {
		wants, err := b.wantsOf(other, s.profile)
		if err == nil && !reflect.DeepEqual(wants, s.wants) {
			err = fmt.Errorf("it would get something else")
		}
		if err == nil {
			err = oneLine(problems(b.decide(&served{facts: other, wants: wants})))
		}
		if err != nil {
			return fmt.Errorf("container %s mounts the same volume and does not run either, so Docker does not tell which of them starts, "+
				"and %w: give each a volume of its own", other.Name, err)
		}
	}
	return nil
}

// checkOwn refuses what would be made for a container, or read in its name,
// while it is not known which it is.
func checkOwn(s *served, items []item) error {
	for _, i := range items {
		for _, n := range i.needs {
			if n.origin.container != "" && s.phase() == runDoubted {
				return fmt.Errorf("%s is made for one container alone, and container %s mounts the same volume and does not run either, "+
					"so Docker does not tell which of them starts: give each a volume of its own", n.ref, s.others[0].Name)
			}
		}
	}
	return nil
}
