package broker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/providers"
)

// batcher is a store that reads several secrets in one request.
type batcher struct {
	*store
	batches [][]string
}

// FetchBatch implements providers.Batcher.
func (b *batcher) FetchBatch(ctx context.Context, refs []secret.Ref) []providers.Answer {
	var paths []string
	answers := make([]providers.Answer, len(refs))
	for i, ref := range refs {
		paths = append(paths, ref.Path)
		answers[i].Secret, answers[i].Err = b.Fetch(ctx, ref)
	}
	slices.Sort(paths)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.batches = append(b.batches, paths)
	return answers
}

// requests are the paths of each request, sorted.
func (b *batcher) requests() [][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.batches)
}

// What one container needs of one provider is read in one request, where the
// provider can; the others who need it wait for the same one; and what is due
// at one time is read again in one.
func TestBatches(t *testing.T) {
	b := &batcher{store: newStore()}
	onHost(t, func(t *testing.T, h *host) {
		var labels, all []string
		for i := range 5 {
			path := fmt.Sprint("shop/s", i)
			b.put(path, "v", fmt.Sprint(i))
			labels = append(labels, fmt.Sprint("quaymaster.secret.s", i), "batch:"+path)
			all = append(all, path)
		}
		b.slow(time.Second)
		const starts = 300
		for i := range starts {
			h.engine.create(fmt.Sprint("c", i), labels...)
		}
		together(starts, func(i int) { h.passes(fmt.Sprint("c", i)) })
		h.sees("c299", "s0", "0", "s1", "1", "s2", "2", "s3", "3", "s4", "4")
		if got := b.requests(); len(got) != 1 || !slices.Equal(got[0], all) {
			t.Errorf("%d containers led to these requests: %v", starts, got)
		}
		h.sleep(refresh + 10*time.Second)
		if got := b.requests(); len(got) != 2 || len(got[1]) != 5 {
			t.Errorf("an interval later: %v", got)
		}
		b.fail("shop/s3", errNotFound)
		h.engine.create("odd", append(labels, "quaymaster.secret.new", "batch:shop/new")...)
		b.put("shop/new", "v", "x")
		h.sleep(refresh)
		h.refused("odd", "file s3 (batch:shop/s3): ", "not found")
	}, func(o *broker.Options) {
		o.Providers["batch"] = b
		o.Policy = shopMayRead(t, "batch:shop/**")
	})
}

// A start just past the interval does not wait: it is served from memory, and
// the secret is read again behind it.
func TestAdvisoryWindow(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"first", "second", "third"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
		}
		h.starts("first")
		h.reports(inject.Removed, "first")
		h.store.put("shop/db", "password", "two")
		h.store.slow(10 * time.Second)
		h.sleep(refresh + time.Second)
		began := time.Now()
		h.starts("second")
		h.sees("second", "a", "one")
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		h.sleep(10 * time.Second)
		h.sees("second", "a", "two")
		h.wasRead("shop/db", 2)
		h.reports(inject.Removed, "second")
		h.sleep(2 * refresh)
		began = time.Now()
		h.starts("third")
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("well past the interval, a start waited %v for a read of 10 s", waited)
		}
	})
}

// A provider's no is held for a moment, so that a container which its engine
// restarts again and again does not ask each time.
func TestRefusalsAreHeldBriefly(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/none")
		for range 20 {
			h.refused("db", "not found")
			h.sleep(100 * time.Millisecond)
		}
		h.wasRead("shop/none", 1)
		h.refused("db", "not found")
		h.wasRead("shop/none", 2)
	})
}

// The most eager holder of a secret says how often it is read again.
func TestIntervalOfOneRef(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.store.put("shop/api", "key", "1")
		h.engine.create("calm", "quaymaster.secret.a", "vault:shop/db", "quaymaster.secret.b", "vault:shop/api")
		h.engine.create("eager", "quaymaster.secret.a", "vault:shop/db", "quaymaster.refresh.a", "30s")
		h.starts("calm")
		h.sleep(time.Minute)
		h.wasRead("shop/db", 1)
		h.starts("eager")
		h.sleep(5 * time.Minute)
		h.wasRead("shop/api", 2)
		if n := h.store.read("shop/db"); n < 10 || n > 13 {
			t.Errorf("in five minutes, %d reads of what is wanted each half minute", n)
		}
	})
}

// A provider is asked no more often than the configuration allows.
func TestRate(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		var labels []string
		for i := range 30 {
			h.store.put(fmt.Sprint("shop/s", i), "v", "x")
			labels = append(labels, fmt.Sprint("quaymaster.secret.s", i), fmt.Sprint("vault:shop/s", i))
		}
		h.engine.create("db", labels...)
		began := time.Now()
		h.passes("db")
		if took := time.Since(began).Round(time.Second); took != 2*time.Second { // ten at once, ten a second
			t.Errorf("30 reads at 10 a second took %v", took)
		}
	}, func(o *broker.Options) { o.Rates = map[string]int{"vault": 10} })
}

// What is held together is bounded. What nobody holds makes room first.
func TestHeldSizeIsBounded(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		large := strings.Repeat("x", 1<<20-len(mark))
		container := func(n int) string { return fmt.Sprint("c", n) }
		for n := range 80 {
			h.store.put(fmt.Sprint("shop/s", n), "v", large)
			h.engine.create(container(n), "quaymaster.secret.a", fmt.Sprint("vault:shop/s", n))
		}
		for n := range 20 {
			h.starts(container(n))
			h.reports(inject.Removed, container(n))
		}
		for n := 20; n < 84-20; n++ {
			h.starts(container(n))
		}
		for n := 64; n < 80; n++ { // in the place of the first twenty
			h.starts(container(n))
		}
		h.engine.create("last", "quaymaster.secret.a", "vault:shop/s0")
		for n := 80; ; n++ {
			h.store.put(fmt.Sprint("shop/s", n), "v", large)
			h.engine.create(container(n), "quaymaster.secret.a", fmt.Sprint("vault:shop/s", n))
			if n == 84 {
				h.refused(container(n), "holds 64 MiB of secrets")
				break
			}
			h.starts(container(n))
		}
	})
}

// delegator reads in the name of containers.
type delegator struct {
	*store
	mu      sync.Mutex
	clients map[string]providers.Client // by container
	reads   map[string]int              // by container
	forgot  []string
}

type delegate struct {
	*delegator
	container string
}

// For implements providers.Delegator.
func (d *delegator) For(client providers.Client) providers.Provider {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients[client.Container] = client
	return &delegate{d, client.Container}
}

// Forget implements providers.Delegator.
func (d *delegator) Forget(_ context.Context, container string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgot = append(d.forgot, container)
	if len(d.forgot) == 1 {
		return fmt.Errorf("%w: sealed", errUnavailable)
	}
	return nil
}

// Fetch implements providers.Provider.
func (d *delegate) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	d.delegator.mu.Lock()
	d.delegator.reads[d.container]++
	d.delegator.mu.Unlock()
	return d.store.Fetch(ctx, ref)
}

// A grant with a login of its own has its secrets read in the container's
// name, which the provider is told, and forgets when the container is gone.
func TestGrantWithALoginOfItsOwn(t *testing.T) {
	d := &delegator{store: newStore(), clients: map[string]providers.Client{}, reads: map[string]int{}}
	onHost(t, func(t *testing.T, h *host) {
		d.put("shop/db", "password", "one")
		d.put("open/a", "v", "x")
		labels := []string{"quaymaster.secret.a", "deleg:shop/db", "quaymaster.secret.b", "deleg:open/a",
			"com.docker.compose.project", "shop", "com.docker.compose.service", "db"}
		for _, id := range []string{"one", "two"} {
			h.engine.create(id, labels...)
			h.starts(id)
			h.sees(id, "a", "one", "b", "x")
		}
		if want := map[string]int{"one": 1, "two": 1}; !maps.Equal(d.reads, want) || d.read("open/a") != 1 {
			t.Errorf("reads %v in the containers' names and %d in the host's", d.reads, d.read("open/a"))
		}
		client := d.clients["one"]
		metadata := map[string]string{"container_id": "one", "container_name": "shop-one", "image": "shop/one:1",
			"compose_project": "shop", "compose_service": "db"}
		if client.Role != "shop" || !slices.Equal(client.Policies, []string{"db-read"}) || !maps.Equal(client.Metadata, metadata) {
			t.Errorf("%+v", client)
		}
		h.reports(inject.Died, "one")
		if len(d.forgot) != 0 {
			t.Error("the login of a container that may start again was ended")
		}
		h.reports(inject.Removed, "one")
		h.sleep(time.Minute)
		if !slices.Equal(d.forgot, []string{"one", "one"}) { // the first time, nobody answered
			t.Errorf("forgot %v", d.forgot)
		}
	}, func(o *broker.Options) {
		o.Providers["deleg"] = d
		own, _ := secret.ParsePattern("deleg:shop/**")
		open, _ := secret.ParsePattern("deleg:open/**")
		shop := map[string]string{"label.app": "shop"}
		o.Policy = policy.New([]policy.Grant{
			{Name: "own", Workloads: shop, Secrets: []secret.Pattern{own}, Login: policy.Login{Role: "shop", Policies: []string{"db-read"}}},
			{Name: "open", Workloads: shop, Secrets: []secret.Pattern{open}},
		})
	})
}

var errUnsure = errors.New("unsure")

// unsure cannot say whether it issues.
type unsure struct{ *store }

func (unsure) Issues(context.Context, secret.Ref) (bool, error) {
	return false, fmt.Errorf("%w: %w", providers.ErrUnavailable, errUnsure)
}

// Where it cannot be found out what a ref is, nothing is read and the start is
// refused with the reason.
func TestProviderThatCannotSayWhatARefIs(t *testing.T) {
	u := unsure{newStore()}
	onHost(t, func(t *testing.T, h *host) {
		u.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "unsure:shop/db")
		if err := h.refused("db", "secret store unavailable"); !errors.Is(err, errUnsure) {
			t.Errorf("%v", err)
		}
		if n := u.read("shop/db"); n != 0 {
			t.Errorf("%d reads", n)
		}
	}, func(o *broker.Options) {
		o.Providers["unsure"] = u
		o.Policy = shopMayRead(t, "unsure:shop/**")
	})
}

// versioner is a store that says which version is current.
type versioner struct {
	*store
	mu      sync.Mutex
	asked   int
	current string
	err     error
}

// says sets what CurrentVersion answers. A read of this store has the number
// of the read for its version.
func (v *versioner) says(current string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.err = current, err
}

// CurrentVersion implements providers.Versioner.
func (v *versioner) CurrentVersion(context.Context, secret.Ref) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	return v.current, v.err
}

// Where the configuration says so, the version is asked for before a value is
// read again, and the value is read only when another one is current, or when
// the version cannot be had.
func TestVersionsAreCheckedFirst(t *testing.T) {
	for _, check := range []bool{true, false} {
		v := &versioner{store: newStore()}
		onHost(t, func(t *testing.T, h *host) {
			v.put("shop/db", "password", "one")
			v.says("1", nil)
			h.engine.create("db", "quaymaster.secret.a", "versioned:shop/db")
			h.starts("db")
			h.sleep(3 * refresh)
			reads := map[bool]int{true: 1, false: 4}
			if n := v.read("shop/db"); n != reads[check] || v.asked != map[bool]int{true: 3}[check] {
				t.Errorf("check %v: %d reads, %d questions", check, n, v.asked)
			}
			v.put("shop/db", "password", "two")
			v.says("2", nil)
			h.sleep(refresh)
			h.sees("db", "a", "two")
			v.says("", providers.ErrDenied)
			v.put("shop/db", "password", "three")
			h.sleep(refresh)
			h.sees("db", "a", "three")
		}, func(o *broker.Options) {
			o.Providers["versioned"] = v
			o.CheckVersions = map[string]bool{"versioned": check}
			o.Policy = shopMayRead(t, "versioned:shop/**")
		})
	}
}

// Once its provider has said no, a held secret serves no start until the
// provider says yes, whatever its age.
func TestRefusedSecretServesNoStart(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		for _, id := range []string{"first", "second"} {
			h.engine.create(id, "quaymaster.secret.a", "vault:shop/db")
		}
		h.starts("first")
		h.store.fail("shop/db", providers.ErrDenied)
		h.sleep(refresh) // it is read again, and refused
		for _, pause := range []time.Duration{0, refusalFor - 1, refusalFor + 1, time.Minute} {
			h.sleep(pause)
			h.refused("second", "denied by the secret store")
		}
		h.sees("first", "a", "one")
		h.store.fail("shop/db", nil)
		h.sleep(refusalFor)
		h.starts("second")
		h.sees("second", "a", "one")
	})
}

// A read that comes too late for its container, when memory is short, takes
// its own room and no more.
func TestLateReadWhenMemoryIsShort(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		large := strings.Repeat("x", 1<<20-len(mark))
		for n := range 67 {
			h.store.put(fmt.Sprint("shop/s", n), "v", large)
			h.engine.create(fmt.Sprint("c", n), "quaymaster.secret.a", fmt.Sprint("vault:shop/s", n))
		}
		for n := range 64 {
			h.starts(fmt.Sprint("c", n))
		}
		h.reports(inject.Died, "c0")
		h.store.slow(time.Second)
		go h.deliver(t.Context(), arrival("c64"))
		h.sleep(time.Second / 2)
		h.reports(inject.Died, "c64")
		h.sleep(time.Second)
		h.starts("c65") // in the place of one of those two
		h.refused("c66", "holds 64 MiB of secrets")
	})
}
