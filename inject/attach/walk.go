package attach

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// spot is a directory that is held.
type spot struct {
	fd    int
	path  string // as the container names it
	mount uint64 // the ID of the mount that it lies on
	dev   uint64
	ino   uint64
}

// same reports whether both are one directory, through whatever mount.
func (s spot) same(other spot) bool { return s.dev == other.dev && s.ino == other.ino }

// device is the directory's filesystem as a mountinfo names it.
func (s spot) device() string { return fmt.Sprintf("%d:%d", unix.Major(s.dev), unix.Minor(s.dev)) }

// look says what fd holds. It asks no server of a network filesystem.
func look(fd int, path string) (spot, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st)
	if err != nil {
		return spot{}, fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return spot{}, errors.New("this kernel does not number its mounts: Linux 5.12 or later is needed")
	}
	return spot{fd: fd, path: path, mount: st.Mnt_id, dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino}, nil
}

// walk is a way into a container.
type walk struct {
	*process
	top  spot   // the root of the mount namespace
	root spot   // where the way begins
	own  uint64 // the ID of the mount that is the container's own root
	make bool   // missing directories
}

// to goes to target, one name at a time, and returns the directory there and
// the one that holds it.
func (w walk) to(target string) (parent, place spot, err error) {
	place = w.root
	place.path = ""
	for name := range strings.SplitSeq(target[1:], "/") {
		parent = place
		if place, err = w.step(parent, name); err != nil {
			return spot{}, spot{}, err
		}
	}
	return parent, place, nil
}

// step goes from a directory to one in it, which it makes if need be.
func (w walk) step(from spot, name string) (spot, error) {
	path := from.path + "/" + name
	fd, err := openBelow(from.fd, name)
	if errors.Is(err, unix.ENOENT) {
		if err := w.mkdir(from, name); err != nil {
			return spot{}, err
		}
		fd, err = openBelow(from.fd, name)
	}
	switch {
	case err == nil:
		return look(w.add(fd), path)
	case errors.Is(err, unix.ELOOP):
		return spot{}, fmt.Errorf("%w: %s is a symbolic link, and no link of a container's is followed: %s", ErrHostile, path, advice)
	case errors.Is(err, unix.ENOTDIR):
		return spot{}, fmt.Errorf("%w: %s is something else: %s", ErrHostile, path, advice)
	case errors.Is(err, unix.ENOENT):
		return spot{}, fmt.Errorf("%w: %s went away while it was opened: %s", ErrHostile, path, advice)
	default:
		return spot{}, fmt.Errorf("%w: %s cannot be opened: %w: %s", ErrNoPlace, path, err, advice)
	}
}

// openBelow opens a directory in a directory. A link is ELOOP whatever it
// points to, and nothing else is opened, not even to look at it.
func openBelow(dir int, name string) (int, error) {
	return unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// mkdir makes a directory in one that is held, where the container's own engine
// would, too.
func (w walk) mkdir(in spot, name string) error {
	path := in.path + "/" + name
	if !w.make || !w.hasRoot {
		return fmt.Errorf("%w: %s is missing: %s", ErrNoPlace, path, advice)
	}
	if in.mount != w.own {
		if err := w.alone(in.mount, path); err != nil {
			return err
		}
	}
	err := w.asRoot(func() error { return unix.Mkdirat(in.fd, name, 0o755) })
	switch {
	case err == nil, errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: %s is missing, and the filesystem there is read-only: %s", ErrNoPlace, path, advice)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %s is missing, and the filesystem there is full (%w): free some space in it, or %s", ErrNoPlace, path, err, advice)
	default:
		return fmt.Errorf("%w: %s is missing and cannot be made: %w: %s", ErrNoPlace, path, err, advice)
	}
}

// alone reports why nothing may be made on a mount: it is not a memory
// filesystem, or the host has it too.
func (w walk) alone(id uint64, path string) error {
	m, err := w.mountOf(id)
	if err != nil {
		return err
	}
	shared, err := w.onHost(func(host mount) bool { return host.device == m.device })
	if err != nil || (m.inMemory() && !shared) {
		return err
	}
	return fmt.Errorf("%w: %s is missing, and nothing is made in what is mounted there (%s): "+
		"make the directory, or %s", ErrNoPlace, path, m, advice)
}

// contained reports why a mount made on the mount id would show outside the
// container: they share their mounts (mount_namespaces(7), peer groups).
func (w walk) contained(id uint64, path string) error {
	m, err := w.mountOf(id)
	if err != nil || m.peers == "" {
		return err
	}
	shared, err := w.onHost(func(host mount) bool { return host.peers == m.peers })
	if err != nil || !shared {
		return err
	}
	return fmt.Errorf("%w: what is mounted at %s would show on the host, because its mounts are shared (%s): "+
		"leave out the volume option shared or rshared, or %s", ErrNoPlace, path, m, advice)
}
