//go:build engines

package gates_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
)

// gated is a host configuration that passes the runtime gate.
func gated() *container.HostConfig { return &container.HostConfig{Runtime: host.Runtime} }

// tryRuntime starts containers in the ways in which they are: once, again and
// again by policy, again by command; and some that must not start.
func tryRuntime(t *testing.T, w *world, r *row) {
	for name, change := range map[string]func(*container.Config, *container.HostConfig){
		"plain":          func(*container.Config, *container.HostConfig) {},
		"--read-only":    func(_ *container.Config, h *container.HostConfig) { h.ReadonlyRootfs = true },
		"--user 65532":   func(c *container.Config, _ *container.HostConfig) { c.User = "65532:65532" },
		"--cap-drop ALL": func(_ *container.Config, h *container.HostConfig) { h.CapDrop = []string{"ALL"} },
		"--network none": func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "none" },
		"--tmpfs /run":   func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/run": ""} },
	} {
		t.Run(name, func(t *testing.T) {
			config, hostConfig := shop.Probe("once", shop.Three()), gated()
			change(config, hostConfig)
			countStarts(t, w, r, config, hostConfig, 1, nil)
		})
	}
	t.Run("restart policy", func(t *testing.T) {
		hostConfig := gated()
		hostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 2}
		countStarts(t, w, r, shop.Probe("fail", shop.Three()), hostConfig, 3, nil)
	})
	t.Run("docker restart", func(t *testing.T) {
		countStarts(t, w, r, shop.Probe("hold", shop.Three()), gated(), 3, func(ctx context.Context, id string) error {
			return w.Engine.Client().ContainerRestart(ctx, id, container.StopOptions{})
		})
	})
	t.Run("denied", func(t *testing.T) {
		denied := shop.Labels("quaymaster.secret.password", "vault:kv/other/db#password")
		countRefusal(t, w, r, shop.Probe("once", denied), gated())
	})
	t.Run("agent away", func(t *testing.T) { countAgentAway(t, w, r) })
	t.Run("engine killed", func(t *testing.T) { countEngineKilled(t, w, r) })
}

// countStarts counts n starts of one container. Each after the first is again's
// doing; without again, of the engine by itself.
func countStarts(t *testing.T, w *world, r *row, config *container.Config, hostConfig *container.HostConfig, n int, again func(context.Context, string) error) {
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
		countReport(t, w, r, id, i+1)
	}
}

// countRefusal counts a start that must fail.
func countRefusal(t *testing.T, w *world, r *row, config *container.Config, hostConfig *container.HostConfig) {
	t.Helper()
	id, err := w.Engine.Launch(soon(t), config, hostConfig)
	defer w.remove(t, id)
	if err == nil {
		r.saw(fmt.Errorf("it was to be refused"))
		return
	}
	r.failed(err)
}

// countAgentAway: without an agent a container without labels starts, and one
// with labels does not.
func countAgentAway(t *testing.T, w *world, r *row) {
	if err := w.StopAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.StartAgent(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	result, err := w.Engine.Run(soon(t), shop.Probe("once", nil), gated())
	defer w.remove(t, result.ID)
	if err != nil {
		t.Errorf("a container without labels does not start: %v", err)
	}
	countRefusal(t, w, r, shop.Probe("once", shop.Three()), gated())
}

// countEngineKilled: after the engine's death what is to run always is started
// again with its secrets, and with live-restore it has never ended.
func countEngineKilled(t *testing.T, w *world, r *row) {
	hostConfig := gated()
	hostConfig.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
	ids := make([]string, 3)
	for i := range ids {
		id, err := w.Engine.Launch(soon(t), shop.Probe("hold", shop.Three()), hostConfig)
		defer w.remove(t, id)
		if err != nil {
			r.failed(err)
			t.Fatal(err)
		}
		ids[i] = id
		countReport(t, w, r, id, 1)
	}
	if err := errors.Join(w.Engine.Kill(), w.Engine.Restart(soon(t))); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		want := 1
		if !w.about.LiveRestore {
			want = 2
			countReport(t, w, r, id, want)
		}
		reports, err := w.Engine.Reports(soon(t), id)
		state, failed := w.Engine.Client().ContainerInspect(soon(t), id)
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		if !state.State.Running || len(reports) != want {
			t.Errorf("after the engine's death a container is %s, and has started %d times, not %d", state.State.Status, len(reports), want)
		}
	}
}

// countReport counts the n-th start of a container.
func countReport(t *testing.T, w *world, r *row, id string, n int) {
	t.Helper()
	reports, err := w.reports(soon(t), id, n)
	if err != nil {
		t.Fatal(err)
	}
	r.saw(shop.CheckThree(reports[n-1]))
}
