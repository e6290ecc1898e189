package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/inject"
)

// An agent that comes after another takes up the trees of what runs, without
// touching them, and goes on where the other ended.
func TestAgentRestart(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "1")
		for id, ref := range map[string]string{"db": "vault:shop/db", "api": "vault:shop/api", "gone": "vault:shop/db"} {
			h.engine.create(id, "quaymaster.secret.a", ref)
			h.starts(id)
		}
		h.engine.create("bare", "quaymaster.env.A", "vault:shop/db") // an empty tree says that it passed the gate
		h.starts("bare")
		before := h.generation("db")
		h.stop()
		h.sees("db", "a", "one")
		h.engine.setRunning("gone", false)
		h.store.put("shop/api", "key", "2")
		h.boot()

		h.sees("gone", "a", "one") // it might be about to start
		h.sees("db", "a", "one")
		h.unchanged("db", before)
		h.sees("api", "a", "2")
		h.wasLogged("container adopted", 3)
		h.wasLogged("secrets rotated", 1)
		h.wasLogged("level=ERROR", 0)
		if r := h.audited(audit.Rotated, "api"); len(r) != 1 || r[0].Gate != "adopted" || r[0].Decision != "allow" {
			t.Errorf("%+v", r)
		}
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("db", "a", "two")
		h.sleep(2 * time.Minute)
		h.hasNoTree("gone")
		h.reports(inject.Died, "db")
		h.hasNoTree("db")
		h.starts("db")
		h.sees("db", "a", "two")
	})
}

// An agent is restarted between a container's gate and its start: the next one
// finds a tree whose container does not run yet, and must not take it away.
func TestTreeOfAContainerThatIsAboutToStartStays(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.passes("db")
		h.stop()
		h.boot()
		h.sees("db", "a", "one")
		h.engine.setRunning("db", true)
		h.reports(inject.Started, "db")
		h.sleep(2 * time.Minute)
		h.sees("db", "a", "one")
		h.wasLogged("container adopted", 1)
		h.wasLogged("level=ERROR", 0)
	})
}

// An agent that was killed right after a swap leaves the old generation, which
// the next one drops.
func TestAgentRestartAfterSwap(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.stop()
		h.boot()
		if h.generations("db") != 2 {
			t.Fatalf("%d generations", h.generations("db"))
		}
		h.sleep(time.Minute)
		if h.generations("db") != 1 {
			t.Errorf("%d generations", h.generations("db"))
		}
		h.sees("db", "a", "two")
	})
}

// The provider is away when the agent restarts: what runs keeps what it has,
// and what was missed is made up for.
func TestAgentRestartDuringAnOutage(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		before := h.generation("db")
		h.stop()
		h.store.put("shop/db", "password", "two")
		h.store.fail("", errUnavailable)
		h.boot()
		h.sleep(2 * maxStale)
		h.unchanged("db", before)
		h.wasLogged("a container could not be given its new secrets and keeps what it has", 1)
		if r := h.audited(audit.Rotated, "db"); len(r) != 1 {
			t.Errorf("%d records", len(r))
		}
		h.store.fail("", nil)
		h.sleep(refresh)
		h.sees("db", "a", "two")
	})
}

// A container that ends while its update is being fetched gets none.
func TestEndDuringUpdate(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.stop()
		h.store.put("shop/db", "password", "two")
		h.store.slow(5 * time.Second)
		h.boot()
		h.sleep(time.Second)
		h.reports(inject.Died, "db")
		h.sleep(10 * time.Second)
		h.hasNoTree("db")
		h.wasLogged("level=WARN", 0)
	})
}

// The engine does not answer when the agent starts. Nothing is wiped for that.
func TestAgentRestartWithoutTheEngine(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.stop()
		h.engine.setDeaf(errors.New("no such socket"))
		h.boot()
		h.sleep(time.Hour)
		h.sees("db", "a", "one")
		h.engine.setDeaf(nil)
		h.store.put("shop/db", "password", "two")
		h.reports(inject.Connected, "")
		h.sees("db", "a", "two")
	})
}

// The start of a container that an earlier agent let through is reported to
// the next one.
func TestAgentRestartBetweenGateAndStart(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.passes("db")
		h.stop()
		h.engine.setDeaf(errors.New("still connecting"))
		h.boot()
		h.engine.setDeaf(nil)
		h.reports(inject.Started, "db")
		h.sees("db", "a", "one")
		h.wasLogged("container adopted", 1)
		if r := h.audited(audit.Ungated, "db"); len(r) != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// A container's next run passes the gate while the next agent is about to take
// up the run before it, whose end is reported after that.
func TestNextRunDuringAdoption(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.passes("db")
		h.stop()
		h.engine.setDeaf(errors.New("still connecting"))
		h.boot()
		h.engine.setDeaf(nil)
		h.engine.onFacts(func() {
			h.engine.onFacts(nil)
			h.passes("db")
		})
		happened := time.Now()
		h.sleep(time.Millisecond)
		h.engine.report(inject.Started, "db", happened)
		h.engine.report(inject.Died, "db", happened)
		h.sees("db", "a", "one")
		h.wasLogged("container adopted", 0)
		h.reports(inject.Started, "db")
		h.reports(inject.Died, "db")
		h.hasNoTree("db")
	})
}

// A tree whose container's labels this agent cannot read, because a later one
// could, stays as it is.
func TestAdoptedContainerWithLabelsThatMakeNoSense(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.stop()
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.of-a-later-version", "x")
		h.boot()
		h.wasLogged("a running container is no longer kept fresh", 1)
		h.sleep(time.Hour)
		h.sees("db", "a", "one")
	})
}
