package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// begin opens the process and the tree, and enters the process's mount
// namespace. The tree is opened before: its path is the agent's.
func (j job) begin(held *fds, open func(*process, string) (spot, error)) (w walk, tree spot, err error) {
	w.process, err = openProcess(j.pid, held)
	if err != nil {
		return w, tree, err
	}
	if tree, err = open(w.process, j.source); err != nil {
		return w, tree, err
	}
	namespaceRoot, err := w.enter()
	if err != nil {
		return w, tree, err
	}
	root, err := j.openRoot(w.process)
	if err != nil {
		return w, tree, err
	}
	if w.root, err = look(root, "/"); err != nil {
		return w, tree, err
	}
	// A process may have put its root into a volume, by chroot(2). Then that is
	// where the target is, but it does not make the volume the container's own.
	w.top, err = look(namespaceRoot, "/")
	if w.own = w.top.mount; j.root != "" {
		w.own = w.root.mount
	}
	return w, tree, err
}

// openRoot opens the directory that target lies beneath.
func (j job) openRoot(p *process) (int, error) {
	if j.root == "" {
		return p.root, nil
	}
	fd, err := unix.Openat2(p.root, j.root[1:], &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return 0, fmt.Errorf("open the container's root %s: %w", j.root, err)
	}
	return p.add(fd), nil
}

// attach does the work of Attach. undo is nil unless something was mounted.
func (j job) attach(ctx context.Context, held *fds) (undo func() error, err error) {
	w, tree, err := j.begin(held, (*process).cloneTree)
	if err != nil {
		return nil, err
	}
	w.make = true
	parent, place, err := w.to(j.target)
	if err != nil {
		return nil, err
	}
	if place.mount != parent.mount {
		if done, err := w.already(place, tree); done || err != nil {
			return nil, err
		}
	}
	if err := w.contained(place.mount, place.path); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := unix.MoveMount(tree.fd, "", place.fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("%w: %s was changed while it was mounted at (%w): %s", ErrHostile, place.path, err, advice)
	}
	if err := w.verify(j.target, tree); err != nil {
		if left := unmount(tree); left != nil {
			err = fmt.Errorf("%w (and it could not be taken away again: %v)", err, left)
		}
		return nil, err
	}
	return func() error { return unmount(tree) }, nil
}

// cloneTree makes a mount of the directory source that is attached nowhere yet.
// It is read-only before anybody can see it.
func (p *process) cloneTree(source string) (spot, error) {
	dir, err := p.openTree(source)
	if err != nil {
		return spot{}, err
	}
	fd, err := unix.OpenTree(dir.fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return spot{}, fmt.Errorf("make a mount of the tree %s: %w", source, err)
	}
	if err := protect(p.add(fd)); err != nil {
		return spot{}, err
	}
	return look(fd, source)
}

// openTree opens the directory source.
func (p *process) openTree(source string) (spot, error) {
	fd, err := unix.Open(source, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return spot{}, fmt.Errorf("open the tree %s: %w", source, err)
	}
	return look(p.add(fd), source)
}

// protect makes a mount what every tree is in a container: read-only, without
// devices, programs or set-user-ID, and a thing of this container's alone.
func protect(mount int) error {
	err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		Propagation: unix.MS_PRIVATE,
	})
	if errors.Is(err, unix.ENOSYS) {
		return errors.New("this kernel cannot make the mount read-only: Linux 5.12 or later is needed")
	}
	if err != nil {
		return fmt.Errorf("make the mount read-only: %w", err)
	}
	return nil
}

// already decides what a mount that lies at the target means: the tree itself
// (done, and read-only again if somebody has changed that), an empty directory
// of the agent's that keeps the place for it (nothing), or another one (an error).
func (w walk) already(place, tree spot) (done bool, err error) {
	if place.same(tree) {
		return true, protect(place.fd)
	}
	if place.dev == tree.dev {
		empty, err := isEmpty(place.fd)
		if empty || err != nil {
			return false, err
		}
	}
	m, err := w.mountOf(place.mount)
	if err != nil {
		return false, err
	}
	return false, fmt.Errorf("%w: something is mounted at %s already (%s): leave out that mount, "+
		"or choose another directory with the label quaymaster.path", ErrHostile, place.path, m)
}

// isEmpty reads a directory on the agent's own memory filesystem.
func isEmpty(dir int) (bool, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("look whether the place is free: %w", err)
	}
	file := os.NewFile(uintptr(fd), "place")
	defer file.Close()
	_, err = file.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// verify goes to target once more, which must lead to the tree now, in a process
// that still runs.
func (w walk) verify(target string, tree spot) error {
	if err := w.alive(); err != nil {
		return err
	}
	w.make = false
	_, place, err := w.to(target)
	if err != nil {
		return err
	}
	if place.mount != tree.mount || !place.same(tree) {
		return fmt.Errorf("%w: %s was exchanged while it was mounted at: %s", ErrHostile, target, advice)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(place.fd, &st); err != nil {
		return fmt.Errorf("look at what is mounted: %w", err)
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return fmt.Errorf("%w: what is mounted at %s was made writable: the container has CAP_SYS_ADMIN and uses it", ErrHostile, target)
	}
	return nil
}

// unmount takes a mount away, wherever it lies by now: the thread stands in it,
// so that no path is needed.
func unmount(mounted spot) error {
	if err := unix.Fchdir(mounted.fd); err != nil {
		return fmt.Errorf("go to what is mounted at %s: %w", mounted.path, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", mounted.path, err)
	}
	return nil
}

// detach does the work of Detach. A container may have renamed a directory
// above the target, and the tree has moved with it: so all mounts of the tree
// are looked for.
func (j job) detach(_ context.Context, held *fds) (undo func() error, err error) {
	w, tree, err := j.begin(held, (*process).openTree)
	if err != nil {
		return nil, err
	}
	mounts, err := w.list()
	if err != nil {
		return nil, err
	}
	w.root = w.top
	for _, m := range mounts {
		if m.device != tree.device() || m.point == "/" {
			continue
		}
		_, place, err := w.to(m.point)
		if err != nil || place.mount != m.id || !place.same(tree) {
			continue // another tree, or moved just now
		}
		if err := unmount(place); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
