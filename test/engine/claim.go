package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirPrefix begins the name of every Engine's directory.
const dirPrefix = "quaymaster-engine-"

// claim makes the Engine's directory below parent, on a disk, and marks it as
// owned by this process. First it clears away the engines of processes that
// died without doing so themselves.
func (e *Engine) claim(ctx context.Context, parent string) error {
	if parent == "" {
		parent = "/var/tmp" // kept over a reboot, hence not in memory
	}
	if err := onDisk(parent); err != nil {
		return err
	}
	// Between its making and its marking a directory looks abandoned.
	unlock, err := lock(ctx, "engine")
	if err != nil {
		return err
	}
	defer unlock()
	if err := clearAbandoned(ctx, parent); err != nil {
		return err
	}
	if e.dir, err = os.MkdirTemp(parent, dirPrefix); err != nil {
		return fmt.Errorf("make the engine's directory: %w", err)
	}
	if err := os.Chmod(e.dir, 0o711); err != nil {
		return fmt.Errorf("let a remapped root pass: %w", err)
	}
	e.lock, err = tryLock(e.dir)
	return err
}

// onDisk refuses a directory whose content a search of the disk cannot find.
func onDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is in memory; the engine's data-root must be on a disk, choose another Parent", dir)
	}
	return nil
}

// clearAbandoned ends and removes the engines below parent whose owners are
// gone: nobody holds the lock on their directory.
func clearAbandoned(ctx context.Context, parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, dirPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		owner, err := tryLock(dir)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		abandoned := &Engine{dir: dir, lock: owner}
		if err := abandoned.Remove(ctx); err != nil {
			return fmt.Errorf("remove an abandoned engine: %w", err)
		}
	}
	return nil
}

// tryLock locks a file or directory until the returned file is closed, which
// the death of this process does too. If it is locked, the error is
// unix.EWOULDBLOCK.
func tryLock(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// lock waits for a lock that all processes with the same cache share.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".lock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, fmt.Errorf("make a lock: %w", err)
	}
	for {
		f, err := tryLock(path)
		if err == nil {
			return func() { _ = f.Close() }, nil // nothing was written to it
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s: %w", path, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cacheDir is the directory for what tests build once and use again.
func cacheDir() (string, error) {
	dir := os.Getenv("QUAYMASTER_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache directory, set QUAYMASTER_CACHE: %w", err)
		}
		dir = filepath.Join(user, "quaymaster")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory: %w", err)
	}
	return dir, nil
}
