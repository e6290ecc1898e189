package engine

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDataRootIsNeverInMemory(t *testing.T) {
	// /dev/shm is a tmpfs wherever there is a libc (shm_overview(7)).
	if err := onDisk("/dev/shm"); err == nil || !strings.Contains(err.Error(), "/dev/shm is in memory") {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestLockIsOfOneOwner(t *testing.T) {
	t.Setenv("QUAYMASTER_CACHE", t.TempDir())
	unlock, err := lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v for a second owner, want that it waited", err)
	}
	unlock()
	unlock, err = lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestOwnedDirectoryIsNotAbandoned(t *testing.T) {
	parent := t.TempDir()
	dir, err := os.MkdirTemp(parent, dirPrefix)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := tryLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tryLock(dir); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("got %v, want EWOULDBLOCK", err)
	}
	if err := clearAbandoned(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("an owned directory was removed: %v", err)
	}
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	if err := clearAbandoned(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("an abandoned directory is still there: %v", err)
	}
}

func TestOnlyRootIsAllowed(t *testing.T) {
	if err := allowed(0); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := allowed(65532); !errors.Is(err, ErrNotRoot) {
		t.Errorf("another user: %v, want ErrNotRoot", err)
	}
}

func TestFindNamesWhatIsMissing(t *testing.T) {
	_, err := find("dockerd-of-another-world")
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("got %v, want ErrMissing that says `make setup`", err)
	}
}
