package broker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

func revives(o *broker.Options) { o.StartFailed, o.Driver = true, "quaymaster" }

// fail says that the last start of a container failed.
func (e *engine) fail(id, reason string, restarts bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures = append(e.failures, inject.Failure{Container: id, Name: "shop-" + id, Reason: reason, Restarts: restarts})
}

func (e *engine) started() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(slices.Values(e.starts))
}

// What failed for want of the agent, or of a store, is started again; what was
// refused is not.
func TestFailedStartsAreMadeUpFor(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.stop()
		h.engine.fail("gate", "OCI runtime create failed: quaymaster: container gate did not start: no agent answered at /run", false)
		h.engine.fail("socket", `error while mounting volume '': Post "http://%2Frun%2Fdocker%2Fplugins%2Fquaymaster.sock/VolumeDriver.Mount": EOF`, false)
		h.engine.fail("broken", `error while mounting volume '': get secrets: error while checking if volume "secrets" exists in driver "quaymaster": `+
			`Post "http://plugin.moby.localhost/VolumeDriver.Get": EOF`, false)
		h.engine.fail("other", `error while checking if volume "data" exists in driver "other": Post "http://plugin.moby.localhost/VolumeDriver.Get": EOF`, false)
		h.engine.fail("gone", `get secrets: error while checking if volume "secrets" exists in driver "quaymaster": VolumeDriver.Get: quaymaster: volume "secrets": no`, false)
		h.engine.fail("missing", `error looking up volume plugin quaymaster: plugin "quaymaster" not found`, true)
		h.engine.fail("store", "quaymaster: container store: "+providers.ErrUnavailable.Error()+": connection refused", true)
		h.engine.fail("job", "quaymaster: container job: "+providers.ErrUnavailable.Error()+": connection refused", false)
		h.engine.fail("device", "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0, quaymaster.dev/secrets=shop-db", false)
		h.engine.fail("typo", "CDI device injection failed: unresolvable CDI devices quaymaster.dev/secrets=shop-dbx", true)
		h.engine.fail("boot", "quaymaster: container boot: what it is could not be learnt: which labels of the container come from its image is not known", true)
		h.engine.fail("denied", "quaymaster: container denied: denied by policy", true)
		h.engine.fail("port", "driver failed programming external connectivity: port is already allocated", true)
		h.boot()
		h.sleep(5 * time.Second)
		if got, want := h.engine.started(), []string{"boot", "broken", "device", "gate", "missing", "socket", "store"}; !slices.Equal(got, want) {
			t.Errorf("started %q, want %q", got, want)
		}
	}, revives, func(o *broker.Options) { o.Profiles = workload.Profiles{"shop-db": {}} })
}

// One that fails again is tried again, ever slower, until it runs.
func TestFailedStartIsTriedUntilItSucceeds(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.fail("", errUnavailable)
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		err := h.refused("db", "secret store unavailable")
		h.engine.starting = func(id string) error { _, err := h.deliver(t.Context(), arrival(id)); return err }
		h.engine.fail("db", err.Error(), true)
		h.sleep(10 * time.Minute)
		tries := len(h.engine.started())
		if tries < 10 || tries > 60 {
			t.Errorf("tried %d times in ten minutes", tries)
		}
		h.store.fail("", nil)
		h.sleep(time.Minute)
		h.sees("db", "a", "one")
		after := len(h.engine.started())
		h.sleep(time.Hour)
		if now := len(h.engine.started()); now != after {
			t.Errorf("started %d times more although it runs", now-after)
		}
	}, revives, func(o *broker.Options) { o.Jitter = func() float64 { return 0.5 } })
}

// The engine may be away when it is asked.
func TestFailedStartsWhileTheEngineIsAway(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.engine.setDeaf(errors.New("the engine restores its containers"))
		h.engine.fail("gate", "quaymaster: no agent answered", false)
		h.sleep(time.Minute)
		h.engine.setDeaf(nil)
		h.sleep(2 * time.Minute)
		if got := h.engine.started(); !slices.Equal(got, []string{"gate"}) {
			t.Errorf("started %q", got)
		}
	}, revives)
}
