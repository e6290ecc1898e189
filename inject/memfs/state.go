package memfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNotMounted says that the memory filesystem is not there (yet): the agent,
// or a systemd mount unit, mounts it.
var ErrNotMounted = errors.New("no memory filesystem is mounted there")

// State is how the memory filesystem at a directory is.
type State struct {
	Size, Free   uint64 // bytes
	NeverSwapped bool   // it is mounted with noswap
}

// Look looks at the memory filesystem at dir, and changes nothing. An error
// wraps ErrNotMounted or ErrNotMemory, or says what else is wrong.
func Look(dir string) (State, error) {
	mounted, err := isMountPoint(dir)
	if errors.Is(err, unix.ENOENT) || err == nil && !mounted {
		return State{}, fmt.Errorf("%s: %w", dir, ErrNotMounted)
	}
	if err != nil {
		return State{}, err
	}
	if err := checkMount(dir); err != nil {
		return State{}, err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return State{}, fmt.Errorf("look at the filesystem of %s: %w", dir, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return State{}, fmt.Errorf("find out how %s is mounted: %w", dir, err)
	}
	block := uint64(stat.Bsize)
	return State{Size: stat.Blocks * block, Free: stat.Bavail * block, NeverSwapped: neverSwapped(string(mounts), dir)}, nil
}
