//go:build engines

package gates_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
)

// try starts containers in the ways in which they are: once, again and
// again by policy, again by command; and some that must not start.
func (y way) try(t *testing.T, w *world, r *row) {
	for name, change := range map[string]func(*container.Config, *container.HostConfig){
		"plain":          func(*container.Config, *container.HostConfig) {},
		"--read-only":    func(_ *container.Config, h *container.HostConfig) { h.ReadonlyRootfs = true },
		"--user 65532":   func(c *container.Config, _ *container.HostConfig) { c.User = "65532:65532" },
		"--cap-drop ALL": func(_ *container.Config, h *container.HostConfig) { h.CapDrop = []string{"ALL"} },
		"--network none": func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "none" },
		"--tmpfs /run":   func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/run": ""} },
	} {
		t.Run(name, func(t *testing.T) {
			config, hostConfig := y.container(w, "once", profile)
			change(config, hostConfig)
			y.countStarts(t, w, r, config, hostConfig, 1, nil)
		})
	}
	t.Run("restart policy", func(t *testing.T) {
		config, hostConfig := y.container(w, "fail", profile)
		hostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 2}
		y.countStarts(t, w, r, config, hostConfig, 3, nil)
	})
	t.Run("docker restart", func(t *testing.T) {
		config, hostConfig := y.container(w, "hold", profile)
		y.countStarts(t, w, r, config, hostConfig, 3, func(ctx context.Context, id string) error {
			return w.Engine.Client().ContainerRestart(ctx, id, container.StopOptions{})
		})
	})
	t.Run("denied", func(t *testing.T) {
		config, hostConfig := y.container(w, "once", denied)
		id, err := w.create(soon(t), config, hostConfig)
		defer w.remove(t, id)
		if err != nil {
			t.Fatal(err)
		}
		r.failed(w.start(soon(t), id))
	})
	t.Run("agent away", func(t *testing.T) { y.countAgentAway(t, w, r) })
	t.Run("engine killed", func(t *testing.T) { y.countEngineKilled(t, w, r, 3) })
}

// countStarts counts n starts of one container. Each after the first is again's
// doing; without again, of the engine by itself.
func (y way) countStarts(t *testing.T, w *world, r *row, config *container.Config, hostConfig *container.HostConfig, n int, again func(context.Context, string) error) {
	t.Helper()
	ctx := soon(t)
	id, err := w.Engine.Launch(ctx, config, hostConfig)
	defer w.remove(t, id)
	if err != nil {
		r.failed(err)
		t.Fatal(err)
	}
	for i := range n {
		if i > 0 && again != nil {
			if err := again(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		y.countReport(t, w, r, id, i+1)
	}
}

// countAgentAway: without an agent a container that wants nothing starts, and
// one that wants secrets does not, until an agent is there: that starts it.
func (y way) countAgentAway(t *testing.T, w *world, r *row) {
	config, hostConfig := y.container(w, "once", profile)
	id, err := w.create(soon(t), config, hostConfig)
	defer w.remove(t, id)
	if err := errors.Join(err, w.StopAgent(t.Context())); err != nil {
		t.Fatal(err)
	}
	result, err := w.Engine.Run(soon(t), shop.Probe("once", nil), &container.HostConfig{Runtime: host.Runtime})
	defer w.remove(t, result.ID)
	if err != nil {
		t.Errorf("a container without labels does not start: %v", err)
	}
	r.failed(w.start(soon(t), id))
	if err := w.StartAgent(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	y.countReport(t, w, r, id, 1)
}

// countEngineKilled: after the engine's death what is to run always is started
// again with its secrets, and with live-restore it has never ended. It returns
// how long after the death the last one runs.
func (y way) countEngineKilled(t *testing.T, w *world, r *row, n int) time.Duration {
	ids := make([]string, n)
	defer func() {
		each(n, func(i int) error { w.remove(t, ids[i]); return nil })
	}()
	if err := each(n, func(i int) (err error) {
		config, hostConfig := y.container(w, "hold", profile)
		hostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
		ids[i], err = w.Engine.Launch(soon(t), config, hostConfig)
		return err
	}); err != nil {
		r.failed(err)
		t.Fatal(err)
	}
	for _, id := range ids {
		y.countReport(t, w, r, id, 1)
	}
	died := time.Now()
	if err := errors.Join(w.Engine.Kill(), w.Engine.Restart(soon(t))); err != nil {
		t.Fatal(err)
	}
	want := 1
	if !w.about.LiveRestore {
		want = 2
		for _, id := range ids {
			y.countReport(t, w, r, id, want)
		}
	}
	took := time.Since(died)
	for _, id := range ids {
		reports, err := w.Engine.Reports(soon(t), id)
		state, failed := w.Engine.Client().ContainerInspect(soon(t), id)
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		if !state.State.Running || len(reports) != want {
			t.Errorf("after the engine's death a container is %s, and has started %d times, not %d", state.State.Status, len(reports), want)
		}
	}
	return took
}

// each does something n times, four at a time.
func each(n int, do func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(4)
	for i := range n {
		group.Go(func() error { return do(i) })
	}
	return group.Wait()
}

// countReport counts the n-th start of a container.
func (y way) countReport(t *testing.T, w *world, r *row, id string, n int) {
	t.Helper()
	reports, err := w.reports(soon(t), id, n)
	if err != nil {
		t.Fatal(err)
	}
	r.saw(y.check(reports[n-1]))
}
