package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
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

// A secret that is another one at each read does not restart its container at
// each read.
func TestRestartsAreFarBetween(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/code", "v", "0")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/code", "quaymaster.on-rotate", "restart")
		h.engine.onRestart(func() { // the container ends and comes up again, as fast as can be
			h.engine.report(inject.Died, "db", time.Now())
			h.passes("db")
			h.engine.report(inject.Started, "db", time.Now())
		})
		h.starts("db")
		for n := range 60 * 60 {
			h.store.put("shop/code", "v", fmt.Sprint(n))
			h.sleep(time.Second)
		}
		if _, restarts := h.engine.told(); len(restarts) < 10 || len(restarts) > 13 {
			t.Errorf("%d restarts in an hour", len(restarts))
		} else {
			told := h.logged("its next restart waits") // once in each run that waits
			if told < 4 || told > len(restarts) {
				t.Errorf("told %d times that a restart waits, in %d runs", told, len(restarts))
			}
		}
	}, func(o *broker.Options) { o.Refresh = time.Second })
}

// A signal does not wait for a container that takes its time to restart.
func TestSignalsDoNotWaitForRestarts(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "1")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.on-rotate", "restart")
		h.engine.create("api", "quaymaster.secret.a", "vault:shop/api", "quaymaster.on-rotate", "signal:HUP")
		h.starts("db")
		h.starts("api")
		h.engine.onRestart(func() { time.Sleep(3 * refresh) })
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.store.put("shop/api", "key", "2")
		h.sleep(refresh)
		h.wasTold([]string{"api HUP"}, []string{"db"})
	})
}

// A container that its restart left stopped is told of, with what to do, and
// is not restarted again: nobody knows whether somebody else stopped it.
func TestRestartThatLeavesAContainerStopped(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.on-rotate", "restart")
		h.starts("db")
		h.engine.onRestart(func() { h.engine.report(inject.Died, "db", time.Now()) })
		h.engine.setUnwilling(errors.New("no space left on device"))
		h.store.put("shop/db", "password", "two")
		h.sleep(3 * refresh)
		h.wasTold(nil, []string{"db"})
		h.wasLogged("docker start shop-db", 1)
	})
}

// A field that changes is no reason to restart who has another one of the same
// secret for a variable.
func TestRestartForAnotherField(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one", "user", "shop")
		h.engine.create("db", "quaymaster.env.USER", "vault:shop/db#user", "quaymaster.on-rotate", "restart")
		h.starts("db")
		h.store.put("shop/db", "password", "two", "user", "shop")
		h.sleep(refresh)
		h.wasTold(nil, nil)
	})
}

// A variable that comes into being is a change too.
func TestRestartForAVariableThatAppears(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.engine.create("db", "quaymaster.env.USER", "vault:shop/db", "quaymaster.optional.USER", "true", "quaymaster.on-rotate", "restart")
		h.starts("db")
		h.store.put("shop/db", "user", "shop")
		h.sleep(refresh)
		h.wasTold(nil, []string{"db"})
	})
}
