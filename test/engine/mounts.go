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
	if o.Shared != "" {
		if err := share(o.Shared); err != nil {
			return err
		}
		e.shared = o.Shared
	}
	return e.network.Do(func() (err error) {
		e.mounts, err = newUnifiedMounts()
		return err
	})
}

// share makes a mount of a directory whose copies in other namespaces get what
// is mounted in it.
func share(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on itself: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts in %s: %w", dir, err)
	}
	return nil
}

// leaveMounts undoes unify.
func (e *Engine) leaveMounts() error {
	var errs []error
	if e.mounts != nil {
		errs = append(errs, e.mounts.Close())
		e.mounts = nil
	}
	if e.shared != "" {
		errs = append(errs, unix.Unmount(e.shared, unix.MNT_DETACH))
		e.shared = ""
	}
	return errors.Join(errs...)
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
