//go:build engines

package gates_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/realvault"
	"github.com/quaymaster/quaymaster/test/shop"
)

// basics is the agent's configuration in most worlds. What Compose starts has
// a grant of its own, by what Compose says of it.
const basics = "refresh: 1s\ngate_timeout: 5s\n" + policy

// policy is what the agent of every world lets containers have.
const policy = profiles + shop.Grants + `
  - name: composed
    workloads: {compose.project: composed, compose.service: db}
    secrets: ["vault:kv/shop/**", "vault:kv1/shop/**"]
`

// setting is the engine of a world: whose, and how it is set up.
type setting struct {
	kind    engine.Kind
	variant string
	options engine.Options
}

// String names a world in tests: "newest-live-restore".
func (s setting) String() string { return s.kind.String() + "-" + s.variant }

// settings are all of them. cgroup v2 is a variant where the machine is on v1:
// elsewhere all are.
func settings() (all []setting) {
	variants := []setting{
		{variant: "plain"},
		{variant: "live-restore", options: engine.Options{LiveRestore: true}},
		{variant: "userns-remap", options: engine.Options{UsernsRemap: true}},
	}
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		variants = append(variants, setting{variant: "cgroup-v2", options: engine.Options{CgroupV2: true}})
	}
	for _, kind := range engine.Kinds {
		for _, s := range variants {
			s.kind, s.options.Kind = kind, kind
			all = append(all, s)
		}
	}
	return all
}

// world is a host with the runtime gate installed and the agent running.
type world struct {
	*host.Host
	setting
	about   engine.About
	volumes atomic.Int32 // how many were named so far
}

// startWorld starts a world that ends with the test. Its agent has the settings
// that are given.
func startWorld(t *testing.T, s setting, configuration string) *world {
	t.Helper()
	vault, err := host.StartRealVault(t.Context(), realvault.Options{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	return startWorldOf(t, s, vault, configuration)
}

// startWorldOf is startWorld with a Vault, which belongs to the world.
func startWorldOf(t *testing.T, s setting, vault host.Vault, configuration string) *world {
	t.Helper()
	h, err := host.Start(t.Context(), host.Options{Vault: vault, Engine: s.options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the engine's log:\n%s\nand of the agent's:\n%s", h.Engine.LogTail(20), lastLines(h.Log(), 20))
		}
		if err := h.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	w := &world{Host: h, setting: s}
	for _, step := range []func() error{
		func() error { return shop.PutSecrets(t.Context(), h.Vault) },
		func() error { return h.Configure(configuration) },
		func() error { _, err := h.Install(t.Context()); return err },
		func() error { return h.StartAgent(t.Context()) },
		func() (err error) { w.about, err = h.Engine.About(t.Context()); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// reports waits until the probe in a container has reported n times, over all
// of its starts.
func (w *world) reports(ctx context.Context, id string, n int) (reports []engine.Report, err error) {
	waited := await(ctx, fmt.Sprintf("report %d of container %.12s", n, id), func() bool {
		reports, err = w.Engine.Reports(ctx, id)
		return err != nil || len(reports) >= n
	})
	return reports, errors.Join(waited, err)
}

// await asks again and again until ready says yes, as long as ctx allows: on a
// busy machine, and with an agent that is killed again and again, a start takes
// its time.
func await(ctx context.Context, what string, ready func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// remove removes a container, if there is one.
func (w *world) remove(t *testing.T, id string) {
	t.Helper()
	if err := w.discard(context.WithoutCancel(t.Context()), id); err != nil {
		t.Error(err)
	}
}

// discard is docker rm --force --volumes.
func (w *world) discard(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	return w.Engine.Client().ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
}

// soon is a context for one request.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
