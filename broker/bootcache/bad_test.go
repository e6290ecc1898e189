package bootcache_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/test/sealing"
)

// A change is noticed in whatever byte of the file it is, and so is every length.
func TestAlteredFileIsNoticed(t *testing.T) {
	h := newHost(t)
	h.keeps(h.boot(), "one")
	good := h.content()
	agent := h.boot()
	try := func(what string, at int, content []byte) {
		h.put(content)
		if got, err := agent.Load(t.Context()); got != nil || !errors.Is(err, bootcache.ErrBad) {
			t.Errorf("%s %d of %d: %d secrets, %v", what, at, len(good), len(got), err)
		}
	}
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1 << (i % 8)
		try("flipped byte", i, flipped)
		try("cut off at", i, good[:i])
	}
	try("longer by", 1, append(bytes.Clone(good), 0))
	h.put(good)
	h.loads("one")
}

func TestBadFileIsMovedAside(t *testing.T) {
	h := newHost(t)
	agent := h.boot()
	for text, spoil := range map[string]func(content []byte) error{
		"a symbolic link": func(content []byte) error {
			return errors.Join(os.Rename(h.file(), h.dir+"/elsewhere"), os.Symlink("elsewhere", h.file()))
		},
		"a directory":                   func([]byte) error { return errors.Join(os.Remove(h.file()), os.Mkdir(h.file(), 0o700)) },
		"something special":             func([]byte) error { return errors.Join(os.Remove(h.file()), mkfifo(h.file())) },
		"is open to others (mode 0640)": func([]byte) error { return os.Chmod(h.file(), 0o640) },
		"belongs to user 123":           func([]byte) error { return os.Chown(h.file(), 123, -1) },
		"does not begin as":             func([]byte) error { return os.Truncate(h.file(), 5) },
		"ends before the key does":      func([]byte) error { return os.Truncate(h.file(), 60) },
		"altered since it was written":  func(content []byte) error { return os.Truncate(h.file(), int64(len(content))-1) },
		"its key does not open": func(content []byte) error {
			content[60] ^= 1
			return os.WriteFile(h.file(), content, 0o600)
		},
	} {
		h.keeps(agent, "one")
		h.keeps(agent, "two")
		if err := spoil(h.content()); err != nil {
			t.Fatal(err)
		}
		h.refuses(text)
		if err := agent.Wipe(); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that was copied to another host, or an image made of one.
func TestFileOfAnotherHost(t *testing.T) {
	h := newHost(t)
	h.keeps(h.boot(), "one")
	h.name = "docker-2"
	h.refuses(`another host, "docker-1"`)
	if h.sealer.Uses() != 1 {
		t.Error("the sealer was asked about it")
	}

	h = newHost(t)
	h.keeps(h.boot(), "one")
	h.sealer = sealing.NewMemory("the host's", "docker-2")
	h.refuses("its key does not open") // by the same name

	h = newHost(t)
	h.keeps(h.boot(), "one")
	renamed := bytes.Replace(h.content(), []byte("docker-1"), []byte("docker-2"), 1)
	h.put(renamed)
	h.name = "docker-2"
	h.refuses("altered") // by whoever has the key
}

// An older file is as good as the newest, until max_stale: see the package's
// comment.
func TestOlderFileEndsWithMaxStale(t *testing.T) {
	h := newHost(t)
	agent := h.boot()
	h.keeps(agent, "one")
	older := h.content()
	h.move(maxStale / 2)
	h.keeps(agent, "two")
	h.put(older)
	h.loads("one")
	h.move(maxStale / 2)
	h.put(older)
	h.loads()
}
