package memfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MountView shows the directory dir at another path, read-only, or takes over
// the view that an earlier agent, or a systemd mount unit, left there. What is
// mounted from below the view is read-only too, whatever the one who mounts it
// asks for: a volume driver cannot tell the engine that its volumes are
// read-only. Unmount ends it.
func MountView(dir, view string) error {
	if err := os.MkdirAll(view, 0o711); err != nil {
		return fmt.Errorf("make the directory for the view of the trees: %w", err)
	}
	mounted, err := isMountPoint(view)
	if err != nil {
		return err
	}
	if !mounted {
		if err := bindReadOnly(dir, view); err != nil {
			return err
		}
	}
	return checkView(dir, view)
}

// bindReadOnly makes the mount read-only before it is anywhere to be seen. A
// flag that is set afterwards stays where it was set: an engine with a mount
// namespace of its own would have a view that is writable (mount_namespaces(7)
// passes mounts on, not their flags).
func bindReadOnly(dir, view string) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return remountReadOnly(dir, view)
	}
	if err != nil {
		return fmt.Errorf("show %s at %s: %w", dir, view, err)
	}
	defer unix.Close(tree)
	flags := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
	switch err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &flags); {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return remountReadOnly(dir, view)
	case err != nil:
		return fmt.Errorf("make a view of %s read-only: %w", dir, err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, view, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("show %s at %s: %w", dir, view, err)
	}
	return nil
}

// remountReadOnly is for Linux before 5.12: a bind mount has the flags of its
// source until it is mounted again (mount(2)).
func remountReadOnly(dir, view string) error {
	if err := unix.Mount(dir, view, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("show %s at %s: %w", dir, view, err)
	}
	if err := unix.Mount("", view, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|mountFlags, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read-only: %w", view, err), Unmount(view))
	}
	return nil
}

func checkView(dir, view string) error {
	own, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	seen, err := os.Stat(view)
	if err != nil {
		return fmt.Errorf("look at %s: %w", view, err)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(view, &stat); err != nil {
		return fmt.Errorf("look at the filesystem of %s: %w", view, err)
	}
	if !os.SameFile(own, seen) || stat.Flags&unix.ST_RDONLY == 0 {
		return fmt.Errorf("what is mounted at %s is no read-only view of %s: unmount it", view, dir)
	}
	return nil
}
