//go:build integration

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
	"github.com/quaymaster/quaymaster/test/supervisor"
)

// supervise runs the agent under a supervisor for one test, with other settings.
func supervise(t *testing.T, settings string) *supervisor.Supervisor {
	t.Helper()
	restart := func(ctx context.Context, settings string, start func(context.Context) error) {
		for _, step := range []func() error{
			func() error { return h.StopAgent(ctx) },
			func() error { return h.Configure(settings) },
			func() error { return start(ctx) },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var agent *supervisor.Supervisor
	t.Cleanup(func() { restart(context.Background(), plain, h.StartAgent) })
	restart(t.Context(), settings, func(ctx context.Context) (err error) {
		agent, err = h.SuperviseAgent(ctx)
		return err
	})
	return agent
}

// frontOfVault is a Vault that can be made to fail, for one test.
func frontOfVault(t *testing.T) *host.Store {
	t.Helper()
	store, err := h.FrontOfVault()
	if store != nil {
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// unreachable is what a store meets its callers with that is not there.
var unreachable = cloudsim.Fault{Reset: true}

// starter starts one container after the other through one gate.
type starter struct {
	labels map[string]string
	host   *container.HostConfig
	check  func(engine.Report) error
}

// byVolume passes the volume gate.
func byVolume(name string) *container.HostConfig {
	return &container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: "/run/secrets",
		VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: h.Plugin()}}}}}
}

// starters are two for each of the gates that every engine has.
func starters() (all []starter) {
	files := labels("quaymaster.secret.password", "vault:kv/shop/db#password", "quaymaster.secret.legacy", "vault:kv1/shop/legacy")
	for n := range 2 {
		all = append(all, starter{three(), gated(), checkThree}, starter{files, byVolume(fmt.Sprint("upgrade-", n)), shop.CheckFiles})
	}
	return all
}

// upgrades counts what became of starts while the agent was replaced.
type upgrades struct{ complete, begunAgain, notCreated atomic.Int64 }

// start starts one container and looks at its first report. What an agent was
// asked as a volume driver when it was killed is lost, because the engine
// forgets what it asked for. If that was for a mount, the next agent is to start
// the container; if it was for the creation of a container, there is none.
func (u *upgrades) start(ctx context.Context, s starter) error {
	id, err := h.Engine.Launch(ctx, probe("once", s.labels), s.host)
	if id == "" && s.host.Runtime == "" && strings.Contains(err.Error(), "VolumeDriver.") {
		u.notCreated.Add(1)
		return nil
	}
	if id == "" {
		return err
	}
	defer drop(ctx, h, id)
	if err != nil {
		if !strings.Contains(err.Error(), inject.NoAgent) || s.host.Runtime != "" {
			return err
		}
		u.begunAgain.Add(1)
	}
	reports, err := awaitReports(ctx, h, id, 1)
	if err != nil {
		return err
	}
	u.complete.Add(1)
	return s.check(reports[0])
}

// TestUpgradeInPlace replaces the agent twenty times while containers start all
// the while, through the runtime gate and the volume gate: no start fails, and
// none is without its secrets. Two of the agents are killed.
func TestUpgradeInPlace(t *testing.T) {
	agent := supervise(t, "refresh: 1s\ngate_timeout: 20s\n"+grants)
	var u upgrades
	var work sync.WaitGroup
	var over atomic.Bool
	for _, s := range starters() {
		work.Go(func() {
			for !over.Load() {
				if err := u.start(soon(t), s); err != nil {
					t.Errorf("while the agent was replaced: %v\n%s", err, tail(h.Log()))
					return
				}
			}
		})
	}
	const rounds, killed = 20, 2
	for n := range rounds {
		end := agent.Restart
		if n%(rounds/killed) == 0 {
			end = agent.Kill
		}
		if err := end(soon(t)); err != nil {
			t.Error(err)
			break
		}
		before := u.complete.Load()
		await(t, h, "a start", func() bool { return u.complete.Load() > before || t.Failed() })
	}
	over.Store(true)
	work.Wait()
	t.Logf("%d starts while the agent was replaced %d times; of those that fell into the death of one, %d were begun again by the next, and %d containers were not created",
		u.complete.Load(), rounds, u.begunAgain.Load(), u.notCreated.Load())
	if lost := u.begunAgain.Load() + u.notCreated.Load(); lost > 2*killed { // there are two that use volumes
		t.Errorf("%d starts failed at first, so others than those that fell into the death of an agent", lost)
	}
	if agent.Starts() != rounds+1 {
		t.Errorf("%d agents, want %d", agent.Starts(), rounds+1)
	}
}

// TestHeldSecretsComeOver has the agent replaced while Vault does not answer:
// what was held serves starts, having been in memory only, unless the agent was
// killed and could hand nothing over.
func TestHeldSecretsComeOver(t *testing.T) {
	store := frontOfVault(t)
	agent := supervise(t, store.Settings+"refresh: 1s\ngate_timeout: 5s\n"+grants)
	if err := checkThree(runProbe(t, h, probe("once", three()), gated())); err != nil {
		t.Fatal(err)
	}
	store.Faults.Set("", unreachable)
	if err := agent.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	await(t, h, "a start that is served what was held, and called stale", func() bool {
		result, err := h.Engine.Run(soon(t), probe("once", three()), gated())
		if err != nil {
			t.Fatalf("%v\n%s", err, tail(h.Log()))
		}
		remove(t, h, result.ID)
		reports, err := engine.ParseReports(result.Stdout)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkThree(reports[0]); err != nil {
			t.Fatal(err)
		}
		return strings.Count(recordsOf(result.ID), `"stale":true`) == 3
	})
	for _, dir := range []string{h.StateDir(), h.Engine.DataRoot()} {
		if places := search(t, dir, password); len(places) > 0 {
			t.Errorf("plaintext on a disk: %q", places)
		}
	}
	if strings.Contains(h.Log()+h.Audit(), password) {
		t.Error("plaintext in a log")
	}
	if err := agent.Kill(soon(t)); err != nil {
		t.Fatal(err)
	}
	if message := refused(t, h, probe("once", three()), gated()); !strings.Contains(message, "secret store unavailable") {
		t.Errorf("an agent that was killed has handed something over: %s", message)
	}
}

// TestSystemdStartsTheAgent has systemd's own program listen, and start the
// agent when the first container waits.
func TestSystemdStartsTheAgent(t *testing.T) {
	if err := h.StopAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx := context.WithoutCancel(t.Context())
		if err := h.StopAgent(ctx); err != nil {
			t.Error(err)
		}
		if err := h.StartAgent(ctx); err != nil {
			t.Error(err)
		}
	}()
	before := strings.Count(h.Log(), "agent runs")
	if err := h.ActivateAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	if strings.Count(h.Log(), "agent runs") != before {
		t.Fatal("the agent runs before anyone has asked for it")
	}
	if err := checkThree(runProbe(t, h, probe("once", three()), gated())); err != nil {
		t.Error(err)
	}
	if got := strings.Count(h.Log(), "agent runs"); got != before+1 {
		t.Errorf("%d agents have begun, want one", got-before)
	}
}
