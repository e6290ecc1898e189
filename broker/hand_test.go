package broker_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
)

// remote is a store that must be asked what its secrets are, and is away as a
// whole.
type remote struct{ *store }

// Issues implements providers.Issuer.
func (r remote) Issues(context.Context, secret.Ref) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return false, r.fails[""]
}

// The next agent serves starts from what the one before held, while the store
// is away, and reads it again when that is back.
func TestHeldValuesAreHandedOn(t *testing.T) {
	var handed []secret.Held
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.starts("db")
		h.stop()
		handed = h.Held()
		h.store.fail("", errUnavailable)
		h.boot()
		handed = nil
		h.sleep(2 * refresh)
		h.engine.create("api", "quaymaster.secret.a", "vault:shop/db")
		h.starts("api")
		h.sees("api", "a", "one")
		if r := h.audited(audit.Decision, "api"); len(r) != 1 || !r[0].Stale {
			t.Errorf("%+v", r)
		}
		h.sleep(maxStale)
		h.engine.create("late", "quaymaster.secret.a", "vault:shop/db")
		h.refused("late", "secret store unavailable")
		h.store.fail("", nil)
		h.store.put("shop/db", "password", "two")
		h.sleep(time.Minute)
		h.sees("api", "a", "two")
	}, func(o *broker.Options) {
		o.HandedOn = handed
		o.Providers["vault"] = remote{o.Providers["vault"].(*store)}
	})
}

// What is a container's own, or hangs on a lease, is not handed on.
func TestOwnSecretsAreNotHandedOn(t *testing.T) {
	l := newLender(time.Hour, 10*time.Hour)
	onHost(t, func(t *testing.T, h *host) {
		h.engine.create("db", login()...)
		h.starts("db")
		if held := h.Held(); len(held) != 0 {
			t.Errorf("%d handed on", len(held))
		}
	}, func(o *broker.Options) { o.Providers["db"], o.Policy = l, shopMayRead(t, "db:**") })
}

// cache is a boot cache in memory.
type cache struct {
	mu     sync.Mutex
	held   []secret.Held
	writes int
	err    error
}

func (c *cache) Load(context.Context) ([]secret.Held, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var held []secret.Held
	for _, h := range c.held {
		held = append(held, secret.Held{Secret: h.Secret.Clone(), Read: h.Read})
	}
	return held, c.err
}

func (c *cache) Keep(_ context.Context, held []secret.Held) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	if c.err != nil {
		return c.err
	}
	c.held = nil
	for _, h := range held {
		c.held = append(c.held, secret.Held{Secret: h.Secret.Clone(), Read: h.Read})
	}
	return nil
}

func (c *cache) refs() (refs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		refs = append(refs, h.Secret.Ref.String())
	}
	return slices.Sorted(slices.Values(refs))
}

func (c *cache) answer(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// shopGrants is one grant of the shop's, as shopMayRead makes it.
func shopGrants(t *testing.T, patterns ...string) []policy.Grant {
	t.Helper()
	grant := policy.Grant{Name: "shop", Workloads: map[string]string{"label.app": "shop"}}
	for _, text := range patterns {
		pattern, err := secret.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		grant.Secrets = append(grant.Secrets, pattern)
	}
	return []policy.Grant{grant}
}

// withCache lets what is below shop/kept be kept for the next boot.
func withCache(t *testing.T, c *cache) func(*broker.Options) {
	grants := append(shopGrants(t, "vault:shop/kept/**"), shopGrants(t, "vault:shop/**")...)
	grants[0].BootCache = true
	return func(o *broker.Options) { o.BootCache, o.Policy = c, policy.New(grants) }
}

// The cache has what its grant allows, for as long as a container is there that
// got it, running or not.
func TestBootCacheHoldsWhatItsGrantAllows(t *testing.T) {
	c := &cache{}
	onHost(t, func(t *testing.T, h *host) {
		for _, path := range []string{"shop/db", "shop/kept/db", "shop/kept/api"} {
			h.store.put(path, "password", path)
			id := path[len(path)-2:] + path[:1]
			if path == "shop/db" {
				id = "plain"
			}
			h.engine.create(id, "quaymaster.secret.a", "vault:"+path)
			h.starts(id)
		}
		keeps := func(want ...string) {
			t.Helper()
			h.sleep(time.Minute)
			if got := c.refs(); !slices.Equal(got, want) {
				t.Errorf("kept %q, want %q", got, want)
			}
		}
		keeps("vault:shop/kept/api", "vault:shop/kept/db")
		h.reports(inject.Died, "dbs")
		keeps("vault:shop/kept/api", "vault:shop/kept/db")
		h.reports(inject.Removed, "dbs")
		keeps("vault:shop/kept/api")
		c.answer(errors.New("the disk is full"))
		h.reports(inject.Removed, "pis")
		keeps("vault:shop/kept/api")
		h.wasLogged("the boot cache could not be written", 1)
		c.answer(nil)
		keeps()
	}, withCache(t, c))
}

// A host boots while no store answers: what the cache has serves, marked stale,
// and what nobody came for leaves the cache.
func TestBootWithoutAnyStore(t *testing.T) {
	c := &cache{}
	onHost(t, func(t *testing.T, h *host) {
		for id, path := range map[string]string{"db": "shop/kept/db", "gone": "shop/kept/gone"} {
			h.store.put(path, "password", "one")
			h.engine.create(id, "quaymaster.secret.a", "vault:"+path)
			h.starts(id)
		}
		h.sleep(time.Minute)
		h.stop()
		h.engine.running = map[string]bool{}
		for _, id := range []string{"db", "gone"} { // the memory is gone with the boot
			if err := os.RemoveAll(h.tree(id)); err != nil {
				t.Fatal(err)
			}
		}
		h.store.fail("", errUnavailable)
		h.boot()
		h.sleep(2 * refresh)
		h.starts("db")
		h.sees("db", "a", "one")
		if r := h.audited(audit.Decision, "db"); len(r) != 2 || !r[1].Stale || r[0].Stale {
			t.Errorf("%+v", r)
		}
		if all := h.Containers(); len(all) != 1 || !all[0].Stale {
			t.Errorf("%+v", all)
		}
		h.sleep(startPatience)
		if got := c.refs(); !slices.Equal(got, []string{"vault:shop/kept/db"}) {
			t.Errorf("kept %q", got)
		}
	}, withCache(t, c))
}

// A key that cannot be had yet keeps the cache from being written, and is had
// when it can be.
func TestBootCacheIsLoadedLate(t *testing.T) {
	c := &cache{}
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/kept/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/kept/db")
		h.starts("db")
		h.sleep(time.Minute)
		h.stop()
		c.answer(auth.ErrSealUnavailable)
		writes := c.writes
		h.boot()
		h.sleep(5 * time.Minute)
		if c.writes != writes {
			t.Errorf("written %d times before it was read", c.writes-writes)
		}
		h.store.fail("", errUnavailable)
		c.answer(nil)
		h.sleep(time.Minute)
		h.engine.create("api", "quaymaster.secret.a", "vault:shop/kept/db")
		h.starts("api")
		h.sees("api", "a", "one")
	}, withCache(t, c))
}

// startPatience is how long a container has to start, for the broker.
const startPatience = 11 * time.Minute
