package bootcache_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/test/sealing"
)

const (
	maxStale = time.Hour
	// canary is in every value, and must be nowhere on the disk.
	canary = "c4n4ry-1n-th3-m1n3"
)

// TestMain is also the agent that is killed while it writes.
func TestMain(m *testing.M) {
	if dir := os.Getenv(writerVariable); dir != "" {
		write(dir)
	}
	goleak.VerifyTestMain(m)
}

// machine is a host with a cache, whose agents come and go.
type machine struct {
	*testing.T
	dir    string
	name   string
	sealer *sealing.Memory

	mu  sync.Mutex
	now time.Time
}

func newHost(t *testing.T) *machine {
	return &machine{T: t, dir: filepath.Join(t.TempDir(), "boot-cache"), name: "docker-1", now: time.Now(),
		sealer: sealing.NewMemory("the host's", "docker-1")}
}

func (h *machine) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *machine) move(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(by)
}

// set sets the time of day, and leaves the monotonic clock as it is.
func (h *machine) set(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = stepped(h.now, by)
}

// boot starts an agent, which has another monotonic clock than those before.
func (h *machine) boot() *bootcache.Cache {
	h.Helper()
	h.mu.Lock()
	h.now = h.now.Round(0)
	h.mu.Unlock()
	cache, err := h.open()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { cache.Close() })
	return cache
}

func (h *machine) open() (*bootcache.Cache, error) {
	return bootcache.Open(h.Context(), bootcache.Options{Dir: h.dir, Host: h.name, Sealer: h.sealer, MaxStale: maxStale, Now: h.clock})
}

// keeps keeps secrets that were read just now, by ref.
func (h *machine) keeps(c *bootcache.Cache, values ...string) {
	h.Helper()
	if err := c.Keep(h.Context(), held(h.T, h.clock(), values...)); err != nil {
		h.Fatal(err)
	}
}

// loads wants exactly these values, after a boot.
func (h *machine) loads(want ...string) {
	h.Helper()
	got, err := h.boot().Load(h.Context())
	if err != nil {
		h.Error(err)
	}
	var values []string
	for _, held := range got {
		values = append(values, string(held.Secret.Fields["password"].Reveal())) // a test's own value
	}
	for i := range want {
		want[i] = canary + want[i]
	}
	if strings.Join(values, " ") != strings.Join(want, " ") {
		h.Errorf("loaded %q, want %q", values, want)
	}
}

// refuses wants an error that says text, and the file moved aside.
func (h *machine) refuses(text string) {
	h.Helper()
	got, err := h.boot().Load(h.Context())
	if got != nil || !errors.Is(err, bootcache.ErrBad) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		h.Errorf("%d secrets, %v; want an error with %q", len(got), err, text)
	}
	if _, err := os.Lstat(h.file()); !errors.Is(err, os.ErrNotExist) {
		h.Error("the file is still there: ", err)
	}
	if _, err := os.Lstat(h.file() + ".bad"); err != nil {
		h.Error("it was not moved aside: ", err)
	}
	h.loads() // and the next boot is without
}

func (h *machine) file() string { return filepath.Join(h.dir, "held") }

func (h *machine) content() []byte {
	h.Helper()
	content, err := os.ReadFile(h.file())
	if err != nil {
		h.Fatal(err)
	}
	return content
}

func (h *machine) put(content []byte) {
	h.Helper()
	if err := os.WriteFile(h.file(), content, 0o600); err != nil {
		h.Fatal(err)
	}
}

// held are secrets vault:kv/0, vault:kv/1, … with these passwords.
func held(t testing.TB, read time.Time, values ...string) (all []secret.Held) {
	t.Helper()
	for i, value := range values {
		ref, err := secret.ParseRef("vault:kv/shop/" + string(rune('a'+i)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, secret.Held{Read: read, Secret: secret.Secret{Ref: ref, Version: "7",
			Fields: map[string]secret.Value{"password": secret.NewValue([]byte(canary + value))}}})
	}
	return all
}
