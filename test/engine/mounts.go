package engine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the daemons and the runtime look for the hierarchy; from
// its file system they tell v2 from v1.
const cgroupRoot = "/sys/fs/cgroup"

// unified says whether the machine is on cgroup v2.
func unified() (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil {
		return false, fmt.Errorf("look at the file system of %s: %w", cgroupRoot, err)
	}
	return fs.Type == unix.CGROUP2_SUPER_MAGIC, nil
}

// unify gives the Engine a mount namespace if it needs one to be on cgroup v2.
func (e *Engine) unify(o Options) error {
	already, err := unified()
	if err != nil || already || !o.CgroupV2 {
		return err
	}
	return e.network.Do(func() (err error) {
		e.mounts, err = newUnifiedMounts()
		return err
	})
}

// newUnifiedMounts makes a mount namespace that is as the machine's but for
// cgroups, which are v2's. Mounts that are made on the machine later are seen
// in it, and none the other way. A controller that the machine uses in v1 is
// not there: no limits, but devices (BPF), freezing and killing are v2's. The
// calling thread moves into the namespace: it must be locked and never be used
// for anything else, as that of Namespace.Do.
func newUnifiedMounts() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("keep mounts inside: %w", err)
	}
	if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("mount cgroup v2: %w", err)
	}
	return os.Open("/proc/thread-self/ns/mnt")
}

// enterMounts moves the calling thread, as newUnifiedMounts does.
func enterMounts(mounts *os.File) error {
	// A thread that shares its working directory with others may not move.
	if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS)); err != nil {
		return fmt.Errorf("enter a mount namespace: %w", err)
	}
	return nil
}
