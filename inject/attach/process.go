package attach

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is what is held of a process. Nothing is opened by a path of /proc
// once its mount namespace is entered: in there, /proc is the container's.
type process struct {
	*fds
	pidfd, root, namespace int
	thread                 int    // the calling thread's directory in /proc
	mounts                 int    // the mountinfo of that thread, in the namespace
	hostMounts             []int  // the mountinfo of the agent and of the host's first process
	uid, gid               uint32 // its root, as the host numbers users
	hasRoot                bool   // false: its user namespace maps no root
}

// fds are held, and closed together.
type fds []int

func (f *fds) add(fd int) int {
	*f = append(*f, fd)
	return fd
}

func (f *fds) close() {
	for _, fd := range *f {
		unix.Close(fd)
	}
	*f = nil
}

// openProcess opens what is needed of a process, which must be a container's:
// one with a mount namespace other than the host's.
func openProcess(pid int, held *fds) (_ *process, err error) {
	p := &process{fds: held}
	if p.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return nil, gone("hold it", err)
	}
	p.add(p.pidfd)
	dir, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, gone("find it in /proc", err)
	}
	p.add(dir)
	for _, part := range []struct {
		fd    *int
		name  string
		flags int
	}{
		{&p.root, "root", unix.O_PATH | unix.O_DIRECTORY},
		{&p.namespace, "ns/mnt", unix.O_RDONLY},
	} {
		if *part.fd, err = unix.Openat(dir, part.name, part.flags|unix.O_CLOEXEC, 0); err != nil {
			return nil, gone("open its "+part.name, err)
		}
		p.add(*part.fd)
	}
	if err := p.readRoot(dir); err != nil {
		return nil, err
	}
	if err := p.openHost(); err != nil {
		return nil, err
	}
	return p, p.alive() // so all of it was that process's
}

// gone tells a process that has ended from other errors.
func gone(doing string, err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w (%s: %w)", ErrGone, doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// alive says whether the process still runs: a pidfd is readable when it has
// ended (pidfd_open(2)).
func (p *process) alive() error {
	poll := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for {
		ended, err := unix.Poll(poll, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("ask whether it runs: %w", err)
		case ended > 0:
			return ErrGone
		default:
			return nil
		}
	}
}

// readRoot finds out who the container's root is outside.
func (p *process) readRoot(dir int) error {
	for name, id := range map[string]*uint32{"uid_map": &p.uid, "gid_map": &p.gid} {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return gone("open its "+name, err)
		}
		text, err := readAll(p.add(fd))
		if err != nil {
			return gone("read its "+name, err)
		}
		if *id, p.hasRoot = mappedRoot(text); !p.hasRoot {
			return nil
		}
	}
	return nil
}

// mappedRoot is the ID outside of ID 0 inside (user_namespaces(7)).
func mappedRoot(idMap string) (uint32, bool) {
	for line := range strings.Lines(idMap) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "0" {
			continue
		}
		outside, err := strconv.ParseUint(fields[1], 10, 32)
		return uint32(outside), err == nil
	}
	return 0, false
}

// openHost opens what shows the host's mounts, and refuses a process that
// lives among them: its number is no longer a container's. The agent may live
// in a mount namespace of its own, as under systemd, so the host's first process
// is asked as well, where the host lets anybody look at it.
func (p *process) openHost() error {
	var own unix.Stat_t
	if err := unix.Fstat(p.namespace, &own); err != nil {
		return fmt.Errorf("look at its mount namespace: %w", err)
	}
	for _, host := range []string{"/proc/self", "/proc/1"} {
		var theirs unix.Stat_t
		err := unix.Stat(host+"/ns/mnt", &theirs)
		if err == nil && theirs.Ino == own.Ino && theirs.Dev == own.Dev {
			return fmt.Errorf("%w: this one sees the host's own mounts, so it is no container's", ErrGone)
		}
		fd := -1
		if err == nil || forbidden(err) {
			fd, err = unix.Open(host+"/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		switch {
		case err == nil:
			p.hostMounts = append(p.hostMounts, p.add(fd))
		case !forbidden(err):
			return fmt.Errorf("look at the host's mounts: %w", err)
		}
	}
	fd, err := unix.Open("/proc/thread-self", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the thread's own directory: %w", err)
	}
	p.thread = p.add(fd)
	return nil
}

func forbidden(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }

// enter moves the calling thread, which must be one that ends, into the mount
// namespace of the process, and returns the root of that namespace.
func (p *process) enter() (root int, err error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2) wants it, and so does the umask
		return 0, fmt.Errorf("part the thread from the agent: %w", err)
	}
	if err := unix.Setns(p.namespace, unix.CLONE_NEWNS); err != nil {
		return 0, fmt.Errorf("enter its mount namespace: %w", err)
	}
	unix.Umask(0)
	root, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open the root of its mount namespace: %w", err)
	}
	p.add(root)
	// A process may have hidden mounts from its own list with chroot(2). The
	// thread's begins at the root of the namespace.
	if p.mounts, err = unix.Openat(p.thread, "mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return 0, fmt.Errorf("open the mounts of its mount namespace: %w", err)
	}
	p.add(p.mounts)
	return root, nil
}

// asRoot runs f with the file rights of the container's root, and no more:
// what it makes belongs to that user, as it must where the filesystem knows no
// other (mount_setattr(2), ID-mapped mounts).
func (p *process) asRoot(f func() error) error {
	if p.uid == 0 && p.gid == 0 {
		return f()
	}
	_, _ = unix.SetfsgidRetGid(int(p.gid)) // returns who it was before, never an error
	_, _ = unix.SetfsuidRetUid(int(p.uid))
	defer func() {
		_, _ = unix.SetfsuidRetUid(0)
		_, _ = unix.SetfsgidRetGid(0)
	}()
	return f()
}

// readAll reads a file of /proc from its beginning.
func readAll(fd int) (string, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(own), "proc")
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<30))
	return string(text), err
}
