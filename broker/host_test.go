package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
	"github.com/quaymaster/quaymaster/inject/render"
	"github.com/quaymaster/quaymaster/providers"
)

// The intervals of a host, unless a test changes them.
const (
	refresh  = 5 * time.Minute
	maxStale = time.Hour
	// refusalFor is how long the broker holds a provider's no.
	refusalFor = 2 * time.Second
)

var (
	errUnavailable = providers.ErrUnavailable
	errNotFound    = providers.ErrNotFound
)

// host is a machine with an agent's broker on it: real trees in memory, a real
// audit log and real policy, and an engine and a provider that the test speaks
// for. It lives in a bubble of synthetic time.
type host struct {
	*broker.Broker
	t      *testing.T
	change []func(*broker.Options)

	engine  *engine
	store   *store
	log     text
	trees   *trees
	records *audit.Log
	dir     string // of the trees
	auditAt string
	stop    func() // ends the agent; nil while none runs

	mu   sync.Mutex
	said []string // the errors that Deliver returned
}

// onHost runs a test on a host of its own, and in the end searches everything
// that was said for values.
func onHost(t *testing.T, test func(t *testing.T, h *host), change ...func(*broker.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &host{t: t, change: change, engine: newEngine(), store: newStore(), dir: memory(t), auditAt: filepath.Join(t.TempDir(), "audit.jsonl")}
		h.boot()
		test(t, h)
		if h.stop != nil {
			h.stop()
		}
		h.keepsQuiet()
	})
}

// memory is a directory on the machine's own shared memory.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "quaymaster-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// boot starts an agent, on what an earlier one may have left.
func (h *host) boot() {
	h.t.Helper()
	memory, err := memfs.Open(h.dir)
	if err != nil {
		h.t.Fatal(err)
	}
	h.records, err = audit.Open(h.auditAt, []byte("key"), time.Now)
	if err != nil {
		h.t.Fatal(err)
	}
	h.trees = &trees{FS: memory}
	o := broker.Options{
		Engine: h.engine, Trees: h.trees, Providers: map[string]providers.Provider{"vault": h.store}, Audit: h.records,
		Policy:   shopMayRead(h.t, "vault:shop/**"),
		Renderer: renderer(h.t),
		Log:      slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Refresh:  refresh, MaxStale: maxStale, Now: time.Now, Jitter: func() float64 { return 0 },
	}
	for _, change := range h.change {
		change(&o)
	}
	h.Broker = broker.New(o)
	h.LoadCache(h.t.Context())
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := errors.Join(<-ended, o.Audit.Close(), memory.Close()); err != nil {
			h.t.Error(err)
		}
		h.stop = nil
	}
	synctest.Wait()
}

func renderer(t *testing.T) *render.Renderer {
	t.Helper()
	r, err := render.New(render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shopMayRead is a policy with one grant, for containers with the label
// app=shop.
func shopMayRead(t *testing.T, patterns ...string) *policy.Policy {
	t.Helper()
	grant := policy.Grant{Name: "shop", Workloads: map[string]string{"label.app": "shop"}}
	for _, text := range patterns {
		pattern, err := secret.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		grant.Secrets = append(grant.Secrets, pattern)
	}
	return policy.New([]policy.Grant{grant})
}

// arrival is a container at the runtime gate, whose process is the user of
// this test: only root can give files to others.
func arrival(id string) inject.Arrival {
	return inject.Arrival{Gate: "runtime", Container: id, MemoryOnly: true,
		User: &inject.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}}
}

// deliver brings a container to the gate.
func (h *host) deliver(ctx context.Context, a inject.Arrival) (inject.Delivery, error) {
	delivery, err := h.Deliver(ctx, a)
	if err != nil {
		h.mu.Lock()
		h.said = append(h.said, err.Error())
		h.mu.Unlock()
	}
	return delivery, err
}

// passes brings a container to the gate, which must let it pass.
func (h *host) passes(id string) inject.Delivery {
	h.t.Helper()
	delivery, err := h.deliver(h.t.Context(), arrival(id))
	if err != nil {
		h.t.Errorf("%s: %v", id, err)
	}
	return delivery
}

// starts brings a container through the gate, and the engine reports it.
func (h *host) starts(id string) {
	h.t.Helper()
	h.passes(id)
	h.reports(inject.Started, id)
}

// refused brings a container to the gate, which must refuse it, say why, name
// it, and leave nothing of it behind.
func (h *host) refused(id string, texts ...string) error {
	h.t.Helper()
	return h.turnsAway(arrival(id), texts...)
}

func (h *host) turnsAway(a inject.Arrival, texts ...string) error {
	h.t.Helper()
	delivery, err := h.deliver(h.t.Context(), a)
	if err == nil {
		h.t.Errorf("%s was let through", a.Container)
		return nil
	}
	for _, want := range append(texts, "container shop-"+a.Container+": ") {
		if !strings.Contains(err.Error(), want) {
			h.t.Errorf("%q is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		h.t.Errorf("more than one line: %v", err)
	}
	if delivery.Source != "" || len(delivery.Variables) > 0 {
		h.t.Errorf("%s was refused and given %+v", a.Container, delivery)
	}
	h.hasNoTree(a.Container)
	return err
}

// reports lets the engine report an event, and waits until all that follows
// from it has happened.
func (h *host) reports(kind inject.EventKind, id string) {
	switch kind {
	case inject.Started:
		h.engine.setRunning(id, true)
	case inject.Died, inject.Removed:
		h.engine.setRunning(id, false)
	}
	h.engine.report(kind, id, time.Now())
	synctest.Wait()
}

// sleep lets time pass, and everything happen that is due until then.
func (h *host) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// tree is where a container's tree is, if it has one.
func (h *host) tree(id string) string { return filepath.Join(h.dir, id) }

// files are what a container sees, without the mark; nil: it has no tree.
func (h *host) files(id string) map[string]string {
	h.t.Helper()
	entries, err := os.ReadDir(h.tree(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		h.t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(h.tree(id), entry.Name()))
		if err != nil {
			h.t.Fatal(err)
		}
		value, marked := strings.CutPrefix(string(content), mark)
		if !marked {
			h.t.Errorf("%s of %s holds something else: %.40q", entry.Name(), id, content)
		}
		files[entry.Name()] = value
	}
	return files
}

// sees fails unless the container sees exactly these files, given as name,
// value, name, value.
func (h *host) sees(id string, want ...string) {
	h.t.Helper()
	files := map[string]string{}
	for i := 0; i < len(want); i += 2 {
		files[want[i]] = want[i+1]
	}
	if got := h.files(id); got == nil || !maps.Equal(got, files) {
		h.t.Errorf("%s sees %v, want %v", id, got, files)
	}
}

func (h *host) hasNoTree(id string) {
	h.t.Helper()
	if _, err := os.Lstat(h.tree(id)); !errors.Is(err, os.ErrNotExist) {
		h.t.Errorf("%s has a tree (%v)", id, err)
	}
	if half, _ := filepath.Glob(filepath.Join(h.dir, ".*"+id)); len(half) > 0 {
		h.t.Errorf("left half made: %v", half)
	}
}

// wasRead fails unless the provider was asked so often for path.
func (h *host) wasRead(path string, want int) {
	h.t.Helper()
	if got := h.store.read(path); got != want {
		h.t.Errorf("%s was read %d times, want %d", path, got, want)
	}
}

// record is one line of the audit log, as its readers see it.
type record struct {
	Event, ContainerName, Gate, Kind, Name, Ref, Decision, Reason, Grant, Version, HMAC string
	Stale                                                                               bool
}

// audited returns the records of one event about a container.
func (h *host) audited(event audit.Event, id string) (found []record) {
	h.t.Helper()
	content, err := os.ReadFile(h.auditAt)
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			h.t.Fatalf("%v in %s", err, line)
		}
		if fields["event"] != string(event) || fields["container_id"] != id {
			continue
		}
		text := func(key string) string { s, _ := fields[key].(string); return s }
		found = append(found, record{
			text("event"), text("container_name"), text("gate"), text("kind"), text("name"), text("ref"), text("decision"),
			text("reason"), text("grant"), text("version"), text("hmac"), fields["stale"] == true,
		})
	}
	return found
}

// logged is how often the log says this.
func (h *host) logged(text string) int { return strings.Count(h.log.String(), text) }

func (h *host) wasLogged(text string, want int) {
	h.t.Helper()
	if got := h.logged(text); got != want {
		h.t.Errorf("logged %d times, want %d: %s\n%s", got, want, text, h.log.String())
	}
}

// keepsQuiet searches the log, the errors and the audit log for values.
func (h *host) keepsQuiet() {
	h.t.Helper()
	records, err := os.ReadFile(h.auditAt)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	for _, text := range append(h.said, h.log.String(), string(records)) {
		if at := strings.Index(text, mark); at >= 0 {
			h.t.Errorf("a value was told: …%.200s", text[max(0, at-150):])
		}
	}
}
