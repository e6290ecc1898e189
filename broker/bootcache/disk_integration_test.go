//go:build integration

package bootcache_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// A full disk leaves the old file, and the next write takes its place as soon as
// there is room.
func TestDiskFull(t *testing.T) {
	h := newHost(t)
	h.dir = t.TempDir()
	if err := syscall.Mount("quaymaster-test", h.dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(h.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	agent := h.boot()
	h.keeps(agent, "one")
	before := h.content()
	large := held(t, h.clock(), "two")
	value := make([]byte, 300<<10)
	rand.Read(value)
	large[0].Secret.Fields["password"] = secret.NewValue(value)
	err := agent.Keep(t.Context(), large)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "make room there") || !strings.Contains(err.Error(), h.file()) {
		t.Error(err)
	}
	if !bytes.Equal(h.content(), before) {
		t.Error("the old file is not what it was")
	}
	h.loads("one")
	h.keeps(agent, "three")
	h.loads("three")
}
