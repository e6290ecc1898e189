package bootcache_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/sealing"
)

func TestKeptIsThereAfterABoot(t *testing.T) {
	h := newHost(t)
	h.loads()
	agent := h.boot()
	h.keeps(agent, "one", "two")
	h.loads("one", "two")
	h.keeps(agent, "one", "three", "four") // replaced as a whole
	h.loads("one", "three", "four")
	h.keeps(agent, "one")
	h.loads("one")
}

// The data key is made once and sealed once by each agent, and no two files
// are alike.
func TestOneAgentSealsOneKey(t *testing.T) {
	h := newHost(t)
	agent := h.boot()
	h.keeps(agent, "one")
	first := h.content()
	h.keeps(agent, "two")
	h.keeps(agent, "one")
	if again := h.content(); h.sealer.Uses() != 1 || bytes.Equal(again, first) || !bytes.Equal(again[:60], first[:60]) {
		t.Errorf("the sealer was asked %d times; same file: %v", h.sealer.Uses(), bytes.Equal(again, first))
	}
	h.keeps(h.boot(), "one")
	if next := h.content(); bytes.Equal(next[:100], first[:100]) {
		t.Error("the next agent has the same data key")
	}
}

// writes reports whether doing something wrote another file.
func (h *machine) writes(what func()) bool {
	before := h.content()
	what()
	return !bytes.Equal(before, h.content())
}

func TestNothingIsWrittenWhenNothingChanged(t *testing.T) {
	h := newHost(t)
	agent, read := h.boot(), h.clock()
	h.keeps(agent, "one", "two")
	same := held(t, read, "one", "two")
	for what, writes := range map[string]bool{"nothing": false, "a tenth": false, "more than a tenth": true, "a version": true, "a value": true, "one less": true} {
		next := held(t, read, "one", "two")
		switch what {
		case "a tenth":
			next[1].Read = read.Add(-maxStale / 10)
		case "more than a tenth":
			next[1].Read = read.Add(-maxStale/10 - 1)
		case "a version":
			next[1].Secret.Version = "8"
		case "a value":
			next = held(t, read, "one", "thr")
		case "one less":
			next = next[:1]
		}
		if err := agent.Keep(t.Context(), same); err != nil {
			t.Fatal(err)
		}
		wrote := h.writes(func() {
			if err := agent.Keep(t.Context(), next); err != nil {
				t.Error(err)
			}
		})
		if wrote != writes {
			t.Errorf("%s changed: written: %v", what, wrote)
		}
	}
	if err := os.Remove(h.file()); err != nil {
		t.Fatal(err)
	}
	h.keeps(agent, "one")
	h.loads("one") // a file that somebody removed is written again
}

func TestNothingKeptIsNoFile(t *testing.T) {
	h := newHost(t)
	agent := h.boot()
	h.keeps(agent)
	h.keeps(agent, "one")
	h.keeps(agent)
	h.isEmpty()
	h.keeps(agent, "one")
	h.move(maxStale)
	if err := agent.Keep(t.Context(), held(t, h.clock().Add(-maxStale), "one")); err != nil {
		t.Error(err) // all of it is too old
	}
	h.isEmpty()
}

func (h *machine) isEmpty() {
	h.Helper()
	entries, err := os.ReadDir(h.dir)
	if err != nil || len(entries) > 0 {
		h.Errorf("%v is there, %v", entries, err)
	}
}

func TestWipeLeavesNothing(t *testing.T) {
	h := newHost(t)
	agent := h.boot()
	h.keeps(agent, "one")
	h.put([]byte("hello"))
	h.refuses("does not begin")
	h.keeps(agent, "two")
	h.keeps(agent) // which leaves what an operator may want to see
	if _, err := os.Stat(h.file() + ".bad"); err != nil {
		t.Error(err)
	}
	h.keeps(agent, "two")
	if err := agent.Wipe(); err != nil {
		t.Error(err)
	}
	h.isEmpty()
	asked := h.sealer.Uses()
	h.keeps(agent, "three")
	if h.sealer.Uses() != asked+1 {
		t.Error("the data key outlives a wipe")
	}
}

// What the sealer cannot decide leaves the file for the next boot; what it
// cannot keep leaves the old one.
func TestSealerFails(t *testing.T) {
	h := newHost(t)
	h.keeps(h.boot(), "one")
	for _, reason := range []error{auth.ErrSealUnavailable, auth.ErrSealRefused} {
		h.sealer.Fail(reason)
		agent := h.boot()
		if got, err := agent.Load(t.Context()); got != nil || !errors.Is(err, reason) || errors.Is(err, bootcache.ErrBad) {
			t.Errorf("%d secrets, %v", len(got), err)
		}
		if err := agent.Keep(t.Context(), held(t, h.clock(), "two")); !errors.Is(err, reason) || !strings.Contains(err.Error(), h.file()) {
			t.Error(err)
		}
		h.sealer.Fail(nil)
		h.loads("one")
	}
}

func TestMaxStaleIsTheEnd(t *testing.T) {
	h := newHost(t)
	h.keeps(h.boot(), "one")
	h.move(maxStale - 1)
	h.loads("one")
	h.move(1)
	h.loads()
	h.move(-maxStale)
	h.loads("one") // the clock was wrong for a while, and the file is still there
	h.move(-1)     // now it was read in the future
	h.loads()
}

// A running agent knows how much time has passed, whatever the clock is set
// to, and writes down what the next boot's clock makes of it.
func TestClockIsSetWhileTheAgentRuns(t *testing.T) {
	for _, by := range []time.Duration{-3 * time.Hour, 30 * time.Minute} {
		h := newHost(t)
		agent := h.boot()
		h.now = time.Now() // with a monotonic clock, as an agent's times have
		read := h.clock()
		h.move(20 * time.Minute)
		h.set(by)
		if err := agent.Keep(t.Context(), held(t, read, "one")); err != nil {
			t.Fatal(err)
		}
		left := maxStale - 20*time.Minute - max(by, 0) // a clock that is ahead counts, too: the host may have slept
		h.move(left - 1)
		h.loads("one")
		h.move(1)
		h.loads()
	}
}

// A secret that is said to be read in the future is as good as too old.
func TestFutureIsNotKept(t *testing.T) {
	h := newHost(t)
	agent := h.boot()
	if err := agent.Keep(t.Context(), held(t, h.clock().Add(1), "one")); err != nil {
		t.Error(err)
	}
	h.isEmpty()
}

// The search finds what it must not find, if it is there.
func TestNothingIsReadableOnTheDisk(t *testing.T) {
	h := newHost(t)
	agent := h.boot()
	h.keeps(agent, "one", "two")
	content := h.content()
	h.put(append(content, 0))
	h.refuses("altered")
	h.keeps(agent, "one", "three")
	for _, text := range []string{canary, "vault:kv", "password"} {
		places, searched, err := host.Search(filepath.Dir(h.dir), text)
		if err != nil || len(places) > 0 || searched != 2 {
			t.Errorf("%q is in %v, of %d files, %v", text, places, searched, err)
		}
	}
	plain := bootcache.Encode(held(t, h.clock(), "one"))
	if err := os.WriteFile(h.file()+".plain", plain, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{canary, "vault:kv", "password"} {
		if places, _, err := host.Search(filepath.Dir(h.dir), text); err != nil || len(places) != 1 {
			t.Errorf("the search finds %q in %v, %v", text, places, err)
		}
	}
}

func TestOpenWantsADirectoryOfItsOwn(t *testing.T) {
	for text, spoil := range map[string]func(dir string) error{
		"not a directory":     func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"is open to others":   func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o750)) },
		"belongs to user 123": func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 123, 0)) },
		"is not a dir": func(dir string) error {
			return errors.Join(os.Mkdir(dir+"2", 0o700), os.Symlink(dir+"2", dir))
		},
	} {
		h := newHost(t)
		if err := spoil(h.dir); err != nil {
			t.Fatal(err)
		}
		if cache, err := h.open(); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), h.dir) {
			t.Errorf("%s: %v, %v", text, cache, err)
		}
	}
	for _, o := range []bootcache.Options{{}, {Dir: t.TempDir(), Host: "h", MaxStale: 1}, {Dir: t.TempDir(), Host: "h", Sealer: sealing.NewMemory("", "")}} {
		if _, err := bootcache.Open(t.Context(), o); err == nil {
			t.Errorf("%v is taken", o)
		}
	}
}

func TestFileIsTheAgentsAlone(t *testing.T) {
	h := newHost(t)
	h.keeps(h.boot(), "one")
	info, err := os.Stat(h.file())
	if err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if info, err = os.Stat(h.dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Error(info.Mode(), err)
	}
}

var _ bootcache.Sealer = (*sealing.Memory)(nil)
