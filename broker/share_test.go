package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

// together calls f for each number below n, all at once.
func together(n int, f func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { f(i) })
	}
	group.Wait()
}

// Containers that start at once and need fields of one secret cause one read.
func TestOneReadForAllWhoWait(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "user", "shop", "password", "one")
		h.store.slow(time.Second)
		const starts = 200
		for i := range starts {
			field := []string{"user", "password"}[i%2]
			h.engine.create(fmt.Sprint("db", i), "quaymaster.secret.field", "vault:shop/db#"+field, "quaymaster.env.USER", "vault:shop/db#user")
		}
		began := time.Now()
		together(starts, func(i int) { h.passes(fmt.Sprint("db", i)) })
		for i := range starts {
			h.sees(fmt.Sprint("db", i), "field", []string{"shop", "one"}[i%2])
		}
		h.wasRead("shop/db", 1)
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("one read of a second took %v", waited)
		}
	})
}

// Different secrets, and different versions of one, are read side by side.
func TestDifferentSecretsAreReadSideBySide(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "two")
		h.store.slow(time.Second)
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/db@1")
		h.engine.create("api", "quaymaster.secret.a", "vault:shop/api")
		began := time.Now()
		together(2, func(i int) { h.passes([]string{"db", "api"}[i]) })
		h.sees("db", "a", "one", "b", "one")
		h.sees("api", "a", "two")
		h.wasRead("shop/db", 2)
		if waited := time.Since(began); h.store.peak != 3 || waited != time.Second {
			t.Errorf("%d reads at a time, in %v", h.store.peak, waited)
		}
	})
}

// Whoever gives up first does not end the read for those who still wait.
func TestWhoGivesUpEndsNoRead(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.slow(5 * time.Second)
		for _, id := range []string{"first", "second"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			_, err := h.deliver(ctx, arrival("first"))
			if !errors.Is(err, errUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait() // the read is the first's
		group.Go(func() { h.passes("second") })
		time.Sleep(time.Second)
		cancel()
		group.Wait()
		h.hasNoTree("first")
		h.sees("second", "a", "one")
		h.wasRead("shop/db", 1)
	})
}

// An agent that ends waits for the reads that it began.
func TestEndWaitsForReads(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.slow(5 * time.Second)
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := h.deliver(ctx, arrival("db")); err == nil {
			t.Error("delivered")
		}
		h.stop()
		if h.store.flying != 0 {
			t.Error("a read is still under way")
		}
	})
}

// A provider that never answers is given up before the gate is.
func TestSilentProvider(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.slow(time.Hour)
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := h.deliver(ctx, arrival("db"))
		if !errors.Is(err, errUnavailable) || ctx.Err() != nil {
			t.Errorf("%v, when the gate says %v", err, ctx.Err())
		}
		h.hasNoTree("db")
		began := time.Now()
		h.refused("db", "secret store unavailable") // by a gate without a limit of its own
		if waited := time.Since(began); waited != 20*time.Second {
			t.Errorf("gave up after %v", waited)
		}
	})
}

// A start within the fresh window reads nothing; the next one does.
func TestFreshWindow(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"first", "second", "third"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
		}
		h.starts("first")
		h.reports(inject.Removed, "first") // or it would be read again for the first
		h.sleep(refresh - 1)
		h.starts("second")
		h.wasRead("shop/db", 1)
		h.reports(inject.Removed, "second")
		h.sleep(1)
		h.starts("third")
		h.wasRead("shop/db", 2)
	})
}

// While the provider is away, what is held serves starts until it is too old.
func TestStale(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"first", "second", "third"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db", "quaymaster.env.A", "vault:shop/db")
		}
		h.starts("first")
		h.store.fail("", errUnavailable)
		h.sleep(maxStale - 1)
		h.passes("second")
		h.sees("second", "a", "one")
		for id, stale := range map[string]bool{"first": false, "second": true} {
			records := h.audited(audit.Decision, id)
			if len(records) != 2 || records[0].Stale != stale || records[1].Stale != stale || records[0].Decision != "allow" {
				t.Errorf("%s: %+v", id, records)
			}
		}
		h.sleep(1)
		h.refused("third", "secret store unavailable")
		h.sees("first", "a", "one") // it runs
		h.store.fail("", nil)
		h.passes("third")
		if r := h.audited(audit.Decision, "third"); len(r) != 4 || r[3].Stale {
			t.Errorf("%+v", r)
		}
	})
}

// When the provider decides against it, what is held serves no start, but
// running containers keep what they have.
func TestDecisionIsNotOverruledByWhatIsHeld(t *testing.T) {
	for name, decision := range map[string]error{"not found": errNotFound, "denied": providers.ErrDenied, "invalid": providers.ErrInvalid} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				h.store.put("shop/db", "password", "one")
				for _, id := range []string{"first", "second"} {
					h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
				}
				h.starts("first")
				h.store.fail("shop/db", decision)
				h.sleep(refresh)
				h.refused("second", decision.Error())
				h.sleep(10 * refresh)
				h.sees("first", "a", "one")
				h.refused("second", decision.Error())
				h.store.fail("shop/db", nil)
				h.refused("second", decision.Error()) // a no is held for a moment
				h.sleep(2 * time.Second)
				h.passes("second")
			})
		})
	}
}

// A secret that nobody holds any more serves the next start for a while, and
// is overwritten when it is too old for that.
func TestUnheldSecretIsWiped(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "two")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.engine.create("api", "quaymaster.secret.a", "vault:shop/api")
		h.starts("db")
		h.starts("api")
		h.reports(inject.Died, "db")
		unheld, held := h.store.buffer("shop/db", "password"), h.store.buffer("shop/api", "key")
		h.store.fail("shop/db", errUnavailable)
		h.sleep(maxStale - time.Second)
		h.wasRead("shop/db", 1) // nobody needs it
		h.starts("db")
		h.sees("db", "a", "one")
		h.reports(inject.Died, "db")
		h.sleep(time.Minute)
		if len(unheld) == 0 || !bytes.Equal(unheld, make([]byte, len(unheld))) {
			t.Error("a secret that nobody holds and that is too old for any start is still in memory")
		}
		h.refused("db", "secret store unavailable")
		h.sees("api", "a", "two")
		if string(held) != mark+"two" {
			t.Error("a secret that is held was wiped")
		}
	})
}
