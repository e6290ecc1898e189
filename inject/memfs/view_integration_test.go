//go:build integration

package memfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/inject/memfs"
)

func TestMountView(t *testing.T) {
	dir := mount(t)
	view := filepath.Join(t.TempDir(), "view")
	for range 2 { // the second time over what a killed agent leaves
		if err := memfs.MountView(dir, view); err != nil {
			t.Fatal(err)
		}
	}
	defer memfs.Unmount(view)
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(view, "a")); err != nil || string(got) != "x" {
		t.Errorf("through the view: %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(view, "a"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing through the view: %v", err)
	}
	if err := memfs.MountView(mount(t), view); err == nil || !strings.Contains(err.Error(), "no read-only view") {
		t.Errorf("another directory's view: %v", err)
	}
}
