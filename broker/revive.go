package broker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/cdi"
	"github.com/quaymaster/quaymaster/providers"
)

const (
	// failedPause is how long after a start that failed the engine is asked for
	// it: what it says of a container it writes down behind the answer.
	failedPause = time.Second
	// failedInterval is how often failed starts are looked for without a reason:
	// an agent that hung does not know whom it kept waiting.
	failedInterval = time.Minute
	// revivers is how many containers are started again at a time. With a store
	// away each of them waits for it.
	revivers = 8
)

// The engine never tries a failed start again, whatever the restart policy. A
// container that did not start because the agent was away, or because a store
// was, is started again when they are back.

// revival is what is known of a container that failed to start.
type revival struct {
	failures int
	next     time.Time // when to try again
}

// revive starts containers again that failed to start for the agent's sake.
func (b *Broker) revive(ctx context.Context) error {
	tried := map[string]*revival{}
	pause := failedInterval
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.failed:
			pause = failedPause
		case <-time.After(pause):
			pause = failedInterval
			if next := b.reviveAll(ctx, tried); !next.IsZero() {
				pause = min(failedInterval, max(failedPause, next.Sub(b.Now())))
			}
		}
	}
}

// noteFailed says that a start has failed, or may have.
func (b *Broker) noteFailed() {
	select {
	case b.failed <- struct{}{}:
	default:
	}
}

// reviveAll tries every container that is due, and returns when the next of the
// others is (zero: there is none).
func (b *Broker) reviveAll(ctx context.Context, tried map[string]*revival) (next time.Time) {
	failed, err := b.Engine.Failed(ctx)
	if err != nil {
		b.Log.Debug("containers that failed to start could not be listed", "error", err)
		return b.Now().Add(failedInterval)
	}
	failed = slices.DeleteFunc(failed, func(f inject.Failure) bool { return !b.forOurSake(f) })
	for id := range tried {
		if !slices.ContainsFunc(failed, func(f inject.Failure) bool { return f.Container == id }) {
			delete(tried, id)
		}
	}
	var mu sync.Mutex // over next
	var group errgroup.Group
	group.SetLimit(revivers)
	for _, f := range failed {
		r := tried[f.Container]
		if r == nil {
			r = &revival{}
			tried[f.Container] = r
		}
		group.Go(func() error {
			b.reviveOne(ctx, f, r)
			mu.Lock()
			defer mu.Unlock()
			next = earlier(next, r.next)
			return nil
		})
	}
	group.Wait() // nobody fails
	return next
}

func (b *Broker) reviveOne(ctx context.Context, f inject.Failure, r *revival) {
	if b.Now().Before(r.next) {
		return
	}
	if err := b.Engine.Start(ctx, f.Container); err != nil {
		r.failures++
		r.next = b.Now().Add(b.store.pause(r.failures))
		b.Log.Debug("a container that had failed to start failed again", "container", f.Name, "error", err)
		return
	}
	r.next = time.Time{}
	b.Log.Info("started a container again that had failed to start for want of the agent or of a store", "container", f.Name, "id", f.Container)
}

// forOurSake reports whether a start failed for something that passes by itself:
// no agent, no store, or an engine that says nothing because it just restores
// its containers. Who started a container without a restart policy while a store
// was away has been told so, and may not want it later.
func (b *Broker) forOurSake(f inject.Failure) bool {
	if strings.Contains(f.Reason, inject.NoAgent) || b.missedDriver(f.Reason) || b.missedDevice(f.Reason) {
		return true
	}
	return f.Restarts && (strings.Contains(f.Reason, providers.ErrUnavailable.Error()) || strings.Contains(f.Reason, inject.NotLearnt))
}

// missedDriver knows how the engine says that a volume driver is not there
// (moby pkg/plugins: the socket it could not reach, or that there is none), or
// went away and did not come back (volume/service: in a URL that ends in the
// call, which on newer engines does not name the socket).
func (b *Broker) missedDriver(reason string) bool {
	return b.Driver != "" && strings.Contains(reason, "olume") &&
		(strings.Contains(reason, b.Driver+".sock") || strings.Contains(reason, "plugin \""+b.Driver+"\" not found") ||
			strings.Contains(reason, "driver \""+b.Driver+"\"") && strings.Contains(reason, "/VolumeDriver."))
}

// missedDevice knows how the engine says that a profile which the host has is no
// CDI device (InjectDevices in CDI's pkg/cdi/cache.go): after a boot it is one
// from when the agent has said so.
func (b *Broker) missedDevice(reason string) bool {
	_, missed, _ := strings.Cut(reason, "unresolvable CDI devices ")
	for device := range strings.SplitSeq(missed, ", ") {
		name, ours := strings.CutPrefix(device, cdi.Kind+"=")
		name, _, _ = strings.Cut(name, ":")
		if _, known := b.Profiles[name]; ours && known {
			return true
		}
	}
	return false
}
