//go:build engines

package gates_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
)

const (
	// troubled is how many containers meet each trouble.
	troubled = 3
	// measured is how many starts a median is of.
	measured = 9
	// slowness is how long a slow Vault takes for each answer.
	slowness = 3 * time.Second
)

// trouble is something that is the matter with the agent, and its end.
type trouble struct {
	name        string
	begin, over func(ctx context.Context, w *world, vault *host.StandIn) error
}

var troubles = []trouble{
	{"absent", func(ctx context.Context, w *world, _ *host.StandIn) error { return w.StopAgent(ctx) }, restart},
	{"dead", func(_ context.Context, w *world, _ *host.StandIn) error { return w.KillAgent() }, restart},
	{"hung",
		func(_ context.Context, w *world, _ *host.StandIn) error { return w.SignalAgent(unix.SIGSTOP) },
		func(_ context.Context, w *world, _ *host.StandIn) error { return w.SignalAgent(unix.SIGCONT) }},
	// What an agent holds it need not wait for: this one holds nothing yet.
	{"slow",
		func(ctx context.Context, w *world, vault *host.StandIn) error {
			vault.Faults.Set("kv", cloudsim.Fault{Delay: slowness})
			return errors.Join(w.StopAgent(ctx), w.StartAgent(ctx))
		},
		func(_ context.Context, _ *world, vault *host.StandIn) error { vault.Faults.Clear("kv"); return nil }},
}

func restart(ctx context.Context, w *world, _ *host.StandIn) error { return w.StartAgent(ctx) }

// TestAgentTrouble: whatever is the matter with the agent, containers that want
// nothing of it start, and those that do wait, and then have their secrets or
// say why not. When it is over, these run without anybody's help.
func TestAgentTrouble(t *testing.T) {
	for _, kind := range engine.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			vault, err := host.StartStandIn()
			if err != nil {
				t.Fatal(err)
			}
			w := startWorldOf(t, plain(kind), vault, basics)
			for _, y := range []way{byRuntime, byVolume, byDevice} {
				if !y.offered(w) {
					continue
				}
				r := w.row(t, y.name+", trouble")
				for _, trouble := range troubles {
					t.Run(y.name+"/"+trouble.name, func(t *testing.T) { y.meets(t, w, r, trouble, vault) })
				}
			}
		})
	}
}

// plain is an engine as it comes.
func plain(kind engine.Kind) setting {
	return setting{kind: kind, variant: "plain", options: engine.Options{Kind: kind}}
}

// meets has containers start in the midst of trouble.
func (y way) meets(t *testing.T, w *world, r *row, trouble trouble, vault *host.StandIn) {
	ctx := context.WithoutCancel(t.Context())
	ids := make([]string, troubled)
	for i := range ids {
		config, hostConfig := y.container(w, "once", profile)
		id, err := w.create(soon(t), config, hostConfig)
		defer w.remove(t, id)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	if err := trouble.begin(ctx, w, vault); err != nil {
		t.Fatal(err)
	}
	plain, gated := w.medianStart(t, ""), w.medianStart(t, host.Runtime)

	asked := time.Now()
	var refused atomic.Int32
	over := make(chan error, 1)
	if trouble.name == "hung" && y.name == byVolume.name { // the engine itself would wait for minutes
		time.AfterFunc(slowness, func() { over <- trouble.over(ctx, w, vault) })
	}
	if err := each(troubled, func(i int) error {
		if err := w.start(soon(t), ids[i]); err != nil {
			refused.Add(1)
			r.failed(err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	answered := time.Since(asked)
	if trouble.name != "hung" || y.name != byVolume.name {
		over <- trouble.over(ctx, w, vault)
	}
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for _, id := range ids {
		y.countReport(t, w, r, id, 1)
	}
	r.note("agent %s: %d of %d refused, answered after %v, all have run %v after its end (a container that wants nothing takes %v at the median through the gate, %v past it)",
		trouble.name, refused.Load(), troubled, answered.Round(time.Millisecond), time.Since(back).Round(time.Millisecond),
		gated.Round(time.Millisecond), plain.Round(time.Millisecond))
}

// medianStart is how long the start of a container takes that wants nothing.
func (w *world) medianStart(t *testing.T, runtime string) time.Duration {
	t.Helper()
	var all []time.Duration
	for range measured {
		id, err := w.create(soon(t), shop.Probe("once", nil), &container.HostConfig{Runtime: runtime})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = w.start(soon(t), id)
		all = append(all, time.Since(began))
		w.remove(t, id)
		if err != nil {
			t.Fatal(fmt.Errorf("a container that wants nothing does not start: %w", err))
		}
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// fifty is how many containers an engine brings back.
const fifty = 50

// TestEngineRestart kills the engine under containers that are to run always,
// and starts it again.
func TestEngineRestart(t *testing.T) {
	for _, kind := range engine.Kinds {
		for _, s := range []setting{plain(kind), {kind: kind, variant: "live-restore", options: engine.Options{Kind: kind, LiveRestore: true}}} {
			t.Run(s.String(), func(t *testing.T) {
				w := startWorld(t, s, stormSettings)
				for _, y := range []way{byRuntime, byVolume} {
					t.Run(y.name, func(t *testing.T) {
						r := w.row(t, y.name+", engine killed")
						took := y.countEngineKilled(t, w, r, fifty)
						r.note("%d containers of restart: always run %v after the engine was killed and started again", fifty, took.Round(10*time.Millisecond))
					})
				}
			})
		}
	}
}
