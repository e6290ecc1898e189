//go:build engines

package gates_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

const (
	// stormStarts is how many starts each storm has; $QUAYMASTER_STORM_STARTS
	// for a short one.
	stormStarts = 1000
	// stormWorkers is how many containers are on their way at a time.
	stormWorkers = 4
	// stormPatience bounds what is done for one container. An engine waits 30 s
	// for a plugin that is not there.
	stormPatience = 3 * time.Minute
	// stormSettings are the agent's: shorter than the engine's own patience.
	stormSettings = "refresh: 1s\ngate_timeout: 10s\n" + policy
)

// TestStorm starts a thousand containers through each gate of each engine, in
// all the ways in which containers are started, while the agent is killed,
// ended and stopped at random moments. Whatever happens, a first instruction
// has its secrets or the start fails and says why.
func TestStorm(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("QUAYMASTER_STORM_SEED"); given != "" {
		seed = must(strconv.ParseUint(given, 10, 64))(t)
	}
	n := stormStarts
	if given := os.Getenv("QUAYMASTER_STORM_STARTS"); given != "" {
		n = must(strconv.Atoi(given))(t)
	}
	for _, kind := range engine.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			w := startWorld(t, plain(kind), stormSettings)
			for _, gate := range []struct {
				name string
				ways []way
			}{{"runtime", []way{byRuntime}}, {"volume", []way{byVolume, byLabelledVolume}}, {"cdi", []way{byDevice}}} {
				if gate.ways[0].offered(w) {
					t.Run(gate.name, func(t *testing.T) { storm(t, w, gate.name, gate.ways, n, seed) })
				}
			}
		})
	}
}

// must is for what a test cannot go on without.
func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// tempest is one storm.
type tempest struct {
	*row
	ways []way

	mu      sync.Mutex
	left    []*victim // left to the agent to be started again
	byAgent int       // starts that nobody here asked for
	unseen  int       // containers removed before they could report; no start is counted for them
}

// storm has n starts, and the row of what became of them.
func storm(t *testing.T, w *world, gate string, ways []way, n int, seed uint64) {
	t.Logf("the storm's seed is %d", seed)
	s := &tempest{row: w.row(t, gate+", storm"), ways: ways}
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calm, end := context.WithCancel(ctx)
	var sabotage saboteur
	var saboteurs, workers errgroup.Group
	saboteurs.Go(func() error { return sabotage.run(calm, w.Host, rand.New(rand.NewPCG(seed, 0))) })
	for i := range stormWorkers {
		random := rand.New(rand.NewPCG(seed, uint64(i+1)))
		workers.Go(func() error {
			for s.starts() < n && ctx.Err() == nil {
				if err := s.one(ctx, random); err != nil {
					cancel() // at the first that is wrong
					return err
				}
			}
			return nil
		})
	}
	err := workers.Wait()
	end()
	if err := errors.Join(err, saboteurs.Wait()); err != nil {
		t.Fatalf("%v\nthe end of the agent's log:\n%s", err, lastLines(w.Log(), 60))
	}
	for _, v := range s.left {
		if err := s.rescued(ctx, v); err != nil {
			t.Errorf("%v\nthe end of the agent's log:\n%s", err, lastLines(w.Log(), 60))
		}
	}
	s.note("%v in %v; %d of the starts were the agent's own; %d containers more were removed before they could say anything; seed %d",
		&sabotage, time.Since(began).Round(time.Second), s.byAgent, s.unseen, seed)
}

// victim is one container of a storm.
type victim struct {
	way
	id string
	// asked is how many starts have succeeded that somebody here asked for, or
	// the engine's policy did; all others are the agent's.
	asked int
	// counted is how many reports were counted.
	counted int
	// lost says that a start failed which the agent makes up for.
	lost bool
}

// deeds are what is done with containers, one of them to each.
var deeds = []func(s *tempest, ctx context.Context, v *victim) error{
	(*tempest).runs, (*tempest).runs, (*tempest).restarts, (*tempest).repeats, (*tempest).dies, (*tempest).vanishes,
}

// modes are the probe's, for each of deeds.
var modes = []string{"once", "once", "hold", "fail", "hold", "hold"}

// one makes one container, does something with it, counts its starts, and
// removes it, unless the agent owes it one.
func (s *tempest) one(ctx context.Context, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, stormPatience)
	defer cancel()
	deed := random.IntN(len(deeds))
	v := &victim{way: s.ways[random.IntN(len(s.ways))]}
	config, hostConfig := v.container(s.w, modes[deed], profile)
	if modes[deed] == "fail" {
		hostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 2}
	}
	var err error
	if v.id, err = s.w.create(ctx, config, hostConfig); err != nil {
		s.failed(err) // its volume could not be made
		return s.verdict(ctx, v, nil)
	}
	if err := s.verdict(ctx, v, deeds[deed](s, ctx, v)); err != nil {
		return err
	}
	if v.lost && random.IntN(2) == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.left = append(s.left, v)
		return nil
	}
	return s.discard(ctx, v)
}

// verdict turns a start without secrets into an error, with all that there is
// to say of it.
func (s *tempest) verdict(ctx context.Context, v *victim, err error) error {
	s.row.mu.Lock()
	without := s.Without
	s.row.mu.Unlock()
	if err == nil && without == 0 {
		return nil
	}
	stdout, stderr, failed := s.w.Engine.Logs(context.WithoutCancel(ctx), v.id)
	return fmt.Errorf("container %.12s (%s): %w; its log (%v):\n%s%s", v.id, v.name, cmp.Or(err, errWithout), failed, stdout, stderr)
}

// errWithout ends a storm.
var errWithout = errors.New("it, or one beside it, started without secrets or failed without a reason")

// started counts a start that was asked for: err is what the engine answered.
func (s *tempest) started(ctx context.Context, v *victim, err error) (ok bool, _ error) {
	if err != nil {
		v.lost = v.lost || s.w.owed(err)
		s.failed(err)
		return false, nil
	}
	v.asked++
	return true, s.see(ctx, v, v.asked)
}

// see waits until n starts have reported, and counts what was not counted yet.
func (s *tempest) see(ctx context.Context, v *victim, n int) error {
	reports, err := s.w.reports(ctx, v.id, n)
	if err != nil {
		return err
	}
	for _, report := range reports[v.counted:] {
		s.saw(v.check(report))
	}
	v.counted = len(reports)
	return nil
}

// runs is docker run of something that ends by itself.
func (s *tempest) runs(ctx context.Context, v *victim) error {
	_, err := s.started(ctx, v, s.w.start(ctx, v.id))
	return err
}

// restarts is docker restart.
func (s *tempest) restarts(ctx context.Context, v *victim) error {
	if ok, err := s.started(ctx, v, s.w.start(ctx, v.id)); !ok || err != nil {
		return err
	}
	_, err := s.started(ctx, v, s.w.Engine.Client().ContainerRestart(ctx, v.id, container.StopOptions{}))
	return err
}

// dies is docker kill and docker start.
func (s *tempest) dies(ctx context.Context, v *victim) error {
	if ok, err := s.started(ctx, v, s.w.start(ctx, v.id)); !ok || err != nil {
		return err
	}
	ended, failed := s.w.Engine.Client().ContainerWait(ctx, v.id, container.WaitConditionNotRunning)
	if err := s.w.Engine.Client().ContainerKill(ctx, v.id, "KILL"); err != nil {
		return err
	}
	select {
	case <-ended:
	case err := <-failed:
		return err
	}
	_, err := s.started(ctx, v, s.w.start(ctx, v.id))
	return err
}

// repeats is what the engine starts again by its policy, twice, unless it fails
// to.
func (s *tempest) repeats(ctx context.Context, v *victim) error {
	if ok, err := s.started(ctx, v, s.w.start(ctx, v.id)); !ok || err != nil {
		return err
	}
	const all = 1 + 2
	var refused error
	err := await(ctx, "the engine to start it again", func() bool {
		if reports, err := s.w.Engine.Reports(ctx, v.id); err != nil || len(reports) >= all {
			return err == nil
		}
		if state, err := s.w.Engine.Client().ContainerInspect(ctx, v.id); err == nil && !state.State.Running && state.State.Error != "" {
			refused = errors.New(state.State.Error)
		}
		return refused != nil
	})
	if err != nil {
		return err
	}
	if refused != nil {
		v.lost = s.w.owed(refused)
		s.failed(refused)
		return s.see(ctx, v, v.counted)
	}
	v.asked = all
	return s.see(ctx, v, all)
}

// vanishes is docker rm --force right after docker start. What the container
// could say until then counts.
func (s *tempest) vanishes(ctx context.Context, v *victim) error {
	if err := s.w.start(ctx, v.id); err != nil {
		s.failed(err)
		return nil
	}
	v.asked++
	if err := s.see(ctx, v, 0); err != nil || v.counted > 0 {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unseen++
	return nil
}

// discard counts the starts that came by themselves, and removes a container.
func (s *tempest) discard(ctx context.Context, v *victim) error {
	if err := s.see(ctx, v, v.counted); err != nil {
		return err
	}
	s.mu.Lock()
	s.byAgent += max(0, v.counted-v.asked)
	s.mu.Unlock()
	if err := s.verdict(ctx, v, nil); err != nil {
		return err
	}
	if err := s.w.discard(ctx, v.id); err != nil {
		return fmt.Errorf("remove container %.12s: %w", v.id, err)
	}
	return nil
}

// rescued waits until the agent has started a container again.
func (s *tempest) rescued(ctx context.Context, v *victim) error {
	ctx, cancel := context.WithTimeout(ctx, stormPatience)
	defer cancel()
	if err := s.see(ctx, v, v.asked+1); err != nil {
		return fmt.Errorf("the agent has not started container %.12s (%s) again: %w", v.id, v.name, err)
	}
	return s.discard(ctx, v)
}

// saboteur ends agents.
type saboteur struct{ killed, ended, stopped int }

func (s *saboteur) String() string {
	return fmt.Sprintf("agent killed %d times, ended %d times, stopped for a while %d times", s.killed, s.ended, s.stopped)
}

// run does that until ctx ends, and leaves an agent that runs.
func (s *saboteur) run(ctx context.Context, h *host.Host, random *rand.Rand) error {
	upTo := func(from, to time.Duration) time.Duration { return from + time.Duration(random.Int64N(int64(to-from))) }
	for pause(ctx, upTo(500*time.Millisecond, 6*time.Second)) {
		var err error
		switch dice := random.IntN(10); {
		case dice < 2:
			s.stopped++
			err = h.SignalAgent(unix.SIGSTOP)
			pause(ctx, upTo(time.Second, 3*time.Second))
			err = errors.Join(err, h.SignalAgent(unix.SIGCONT))
		case dice < 4:
			s.ended++
			err = h.StopAgent(context.WithoutCancel(ctx))
		default:
			s.killed++
			err = h.KillAgent()
		}
		if err == nil && !h.AgentRuns() {
			pause(ctx, upTo(0, 2*time.Second))
			err = h.StartAgent(context.WithoutCancel(ctx))
		}
		if err != nil {
			return fmt.Errorf("sabotage: %w", err)
		}
	}
	return nil
}

// pause lets time go by, and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return ctx.Err() == nil
}
