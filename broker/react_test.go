package broker_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/inject"
)

func (e *engine) told() (signals, restarts []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.signals), slices.Clone(e.restarts)
}

func (e *engine) setUnwilling(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unwilling = err
}

// wasTold fails unless the engine was asked for exactly this.
func (h *host) wasTold(signals, restarts []string) {
	h.t.Helper()
	gotSignals, gotRestarts := h.engine.told()
	if !slices.Equal(gotSignals, signals) || !slices.Equal(gotRestarts, restarts) {
		h.t.Errorf("signals %v and restarts %v, want %v and %v", gotSignals, gotRestarts, signals, restarts)
	}
}

// After a change, each container gets what it asked for: once for one change of
// several secrets, and nothing without a change.
func TestStrategies(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "1")
		files := []string{"quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/api"}
		h.engine.create("none", files...)
		h.engine.create("hup", append(files, "quaymaster.on-rotate", "signal:HUP")...)
		h.engine.create("restart", append(files, "quaymaster.on-rotate", "restart")...)
		for _, id := range []string{"none", "hup", "restart"} {
			h.starts(id)
		}
		h.sleep(3 * refresh)
		h.wasTold(nil, nil)
		h.store.put("shop/db", "password", "two")
		h.store.put("shop/api", "key", "2")
		h.sleep(refresh)
		h.wasTold([]string{"hup HUP"}, []string{"restart"})
		h.sees("hup", "a", "two", "b", "2")
		h.sleep(3 * refresh)
		h.wasTold([]string{"hup HUP"}, []string{"restart"})
	})
}

// A variable reaches a process only by a restart.
func TestStrategiesForVariables(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for id, strategy := range map[string]string{"hup": "signal:HUP", "restart": "restart", "none": "none"} {
			h.engine.create(id, "quaymaster.env.PASSWORD", "vault:shop/db", "quaymaster.on-rotate", strategy)
			h.starts(id)
		}
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.wasTold(nil, []string{"restart"})
	})
}

// What could not be told is told again, until it succeeds or the run is over.
func TestStrategyThatFails(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"stays", "ends"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db", "quaymaster.on-rotate", "signal:USR1")
			h.starts(id)
		}
		h.engine.setUnwilling(errors.New("the engine is busy"))
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh + 10*time.Second)
		h.reports(inject.Died, "ends")
		h.engine.setUnwilling(nil)
		h.sleep(time.Minute)
		signals, _ := h.engine.told()
		last := len(signals) - 1
		if last < 3 || signals[last] != "stays USR1" || signals[last-1] == "stays USR1" && signals[last-2] == "stays USR1" {
			t.Errorf("signals %v", signals)
		}
		h.wasLogged("container told of its new secrets", 1)
		h.sleep(time.Hour)
		if again, _ := h.engine.told(); len(again) != len(signals) {
			t.Errorf("told again after it succeeded: %v", again)
		}
	})
}
