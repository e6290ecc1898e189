package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// A new value reaches a running container although the store of another one
// of its secrets is away for long, or has come to refuse it.
func TestRotationDoesNotWaitForOtherSecrets(t *testing.T) {
	for _, why := range []error{providers.ErrUnavailable, providers.ErrDenied, providers.ErrNotFound} {
		onHost(t, func(t *testing.T, h *host) {
			h.store.put("shop/db", "password", "one")
			h.store.put("shop/api", "key", "1")
			h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/api")
			h.starts("db")
			h.store.fail("shop/api", why)
			h.sleep(2 * maxStale)
			h.store.put("shop/db", "password", "two")
			h.sleep(refresh)
			h.sees("db", "a", "two", "b", "1")
			h.store.put("shop/api", "key", "2")
			h.store.fail("shop/api", nil)
			h.sleep(refresh)
			h.sees("db", "a", "two", "b", "2")
		})
	}
}

// An agent that comes after another and finds nothing changed records, writes
// and tells nothing.
func TestNothingChangesForAdoptedContainers(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db", "quaymaster.env.B", "vault:shop/db", "quaymaster.on-rotate", "restart")
		h.starts("db")
		h.stop()
		h.boot()
		h.trees.onWrite(func() error { t.Error("a tree is written"); return nil })
		h.sleep(3 * refresh)
		if r := h.audited(audit.Rotated, "db"); len(r) != 0 {
			t.Errorf("%+v", r)
		}
		h.wasTold(nil, nil)
		h.wasLogged("secrets rotated", 0)
	})
}

// A store that is away when an agent comes after another is asked as rarely as
// at any other time, and what belongs to another store is kept meanwhile.
func TestAdoptionDuringAnOutage(t *testing.T) {
	l := newLender(30*time.Second, time.Hour)
	onHost(t, func(t *testing.T, h *host) {
		const containers = 50
		for i := range containers {
			h.store.put(fmt.Sprint("shop/s", i), "v", "x")
			h.engine.create(fmt.Sprint("c", i), "quaymaster.secret.a", fmt.Sprint("vault:shop/s", i))
			h.starts(fmt.Sprint("c", i))
		}
		h.stop()
		h.store.slow(time.Hour) // no read is answered
		h.boot()
		h.engine.create("db", login()...)
		h.starts("db")
		before := h.store.read("shop/s0")
		for range 10 * 60 {
			h.sleep(time.Second)
			h.works(l, "db")
		}
		if n := h.store.read("shop/s0") - before; n > 30 {
			t.Errorf("%d reads in ten minutes of what does not answer for 20 s", n)
		}
		h.store.slow(0)
		h.sleep(refresh)
		h.wasLogged("a container could not be given its new secrets and keeps what it has", containers)
	}, func(o *broker.Options) {
		o.Providers["db"] = l
		o.Policy = shopMayRead(t, "vault:shop/**", "db:**")
		o.Jitter = func() float64 { return 0.5 }
	})
}

// An optional secret that is gone by the time a container starts is no reason
// to bring that container up to date again and again.
func TestOptionalSecretThatOthersStillHold(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "1")
		labels := []string{"quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/api", "quaymaster.optional.b", "true"}
		h.engine.create("first", labels...)
		h.engine.create("second", labels...)
		h.starts("first")
		h.store.fail("shop/api", errNotFound)
		h.sleep(2 * refresh)
		h.starts("second")
		reads := h.store.read("shop/api")
		h.sleep(10 * refresh)
		h.sees("first", "a", "one", "b", "1")
		h.sees("second", "a", "one")
		if r := h.audited(audit.Rotated, "second"); len(r) != 0 {
			t.Errorf("%d records of no rotation", len(r))
		}
		h.wasRead("shop/api", reads+10)
		h.store.fail("shop/api", nil)
		h.sleep(refresh)
		h.sees("second", "a", "one", "b", "1")
	})
}

// An agent that comes after another takes up what runs side by side, but not
// all at once.
func TestAdoptionIsNoStorm(t *testing.T) {
	slow := &crowded{store: newStore()}
	onHost(t, func(t *testing.T, h *host) {
		slow.put("shop/db", "password", "one")
		const containers = 100
		for i := range containers {
			h.engine.create(fmt.Sprint("c", i), "quaymaster.secret.a", "crowded:shop/db")
			h.starts(fmt.Sprint("c", i))
		}
		h.stop()
		slow.put("shop/db", "password", "two")
		slow.most = 0
		h.boot()
		h.sleep(time.Minute)
		h.sees("c99", "a", "two")
		if slow.most < 8 || slow.most > 32 {
			t.Errorf("%d questions at a time", slow.most)
		}
	}, func(o *broker.Options) {
		o.Providers["crowded"] = slow
		o.Policy = shopMayRead(t, "crowded:shop/**")
	})
}

// crowded counts how many ask at a time what a ref is.
type crowded struct {
	*store
	mu        sync.Mutex
	now, most int
}

// Issues implements providers.Issuer.
func (c *crowded) Issues(context.Context, secret.Ref) (bool, error) {
	c.count(1)
	defer c.count(-1)
	time.Sleep(time.Second)
	return false, nil
}

func (c *crowded) count(by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += by
	c.most = max(c.most, c.now)
}
