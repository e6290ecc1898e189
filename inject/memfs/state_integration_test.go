//go:build integration

package memfs_test

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/inject/memfs"
)

// TestLook looks at a filesystem of the agent's own, at none, and at a disk.
func TestLook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "memory")
	if _, err := memfs.Look(dir); !errors.Is(err, memfs.ErrNotMounted) {
		t.Errorf("before there is a directory: %v", err)
	}
	if err := memfs.Mount(dir, memfs.Options{AllowSwap: true}); err != nil {
		t.Fatal(err)
	}
	state, err := memfs.Look(dir)
	if err != nil || state.Size == 0 || state.Free == 0 || state.Free > state.Size {
		t.Errorf("%+v, %v", state, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOSUID, "size=8m"); err != nil {
		t.Fatal(err)
	}
	if _, err := memfs.Look(dir); err == nil {
		t.Error("without nodev and noexec it is as it should be")
	}
	if err := memfs.Unmount(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := memfs.Look(dir); !errors.Is(err, memfs.ErrNotMounted) {
		t.Errorf("when it is gone: %v", err)
	}
}
