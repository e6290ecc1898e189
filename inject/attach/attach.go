// Package attach mounts a tree, read-only, into the mount namespace of a
// process that runs already: how a container gets its secrets when it started
// before the agent was installed, and how a hook gives them to one that is
// about to start.
//
// Whoever runs in the container may have prepared every path in it, and may
// change it meanwhile. So no path of the container's is ever resolved as a
// whole: the way to the target goes one name at a time, each opened below the
// directory that is held already, and ends at anything that is not a directory.
// What is held cannot be exchanged, and the mount goes onto what is held. At the
// end the way is gone once more: what it leads to must be the new mount, or it
// is taken away again. A container that renames what it has been given later, or
// unmounts it as it may with CAP_SYS_ADMIN, keeps its secrets from itself only.
//
// Nothing is written but by the tree's owner, beside the tree. The one thing
// made in a container is an empty directory at or above the target, where it is
// missing: as the engine makes the directories it mounts at, with the rights of
// the container's own root, and only on the container's own root filesystem or
// on a memory filesystem that is the container's alone. Nothing is made in a
// volume or a directory of the host's that is mounted in the container, and no
// mount is made that would show outside the container.
//
// A process is known by its number, which another process may have when this
// one is over. While a call lasts it is held by a pidfd; whose it was before
// is the caller's to say: ask the engine again when Attach has returned, and
// Detach if the container has another process by then.
package attach

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"unicode"
)

// The decisions that a caller takes.
var (
	// ErrHostile: a link, a file or another mount lies where a plain directory
	// should. It is not tried again without somebody's doing.
	ErrHostile = errors.New("no plain directory")
	// ErrNoPlace: a directory is missing and cannot be made, or what is
	// mounted there would show outside the container.
	ErrNoPlace = errors.New("no place to mount at")
	// ErrGone: the process has ended.
	ErrGone = errors.New("the process has ended")
)

// advice ends an error of which the container is the cause.
const advice = "make it a plain directory in the image, choose another one with the label quaymaster.path, " +
	"or create the container anew so that it passes the runtime gate"

// Mounter implements inject.Attacher. It needs CAP_SYS_ADMIN, CAP_SYS_CHROOT,
// CAP_SYS_PTRACE, CAP_DAC_OVERRIDE, CAP_SETUID and CAP_SETGID, and Linux 5.12.
// It may be used by several goroutines.
type Mounter struct {
	mu   sync.Mutex
	busy map[int]chan struct{} // one call at a time for each process; closed when it is over
}

// New returns a Mounter.
func New() *Mounter { return &Mounter{busy: map[int]chan struct{}{}} }

// job is one call.
type job struct {
	pid            int
	source, target string
	root           string // of the container, as the process names it; empty: the process's own
}

// Attach implements inject.Attacher: it mounts the directory source at target
// beneath the root of process pid. When it lies there already, nothing is done.
// When ctx ends first, as when a filesystem of the container's hangs, nothing
// stays mounted.
func (m *Mounter) Attach(ctx context.Context, pid int, source, target string) error {
	return m.run(ctx, job{pid: pid, source: source, target: target}, job.attach)
}

// AttachAt is Attach beneath another root: the directory root in the mount
// namespace of pid, which will be the container's root. That is what a
// createRuntime hook sees (OCI runtime specification, config.md, POSIX-platform
// hooks): the mounts are made, pivot_root(2) is not done. root is the engine's
// path and is trusted; what lies beneath it is not.
func (m *Mounter) AttachAt(ctx context.Context, pid int, root, source, target string) error {
	if err := checkPath(root); err != nil {
		return err
	}
	return m.run(ctx, job{pid: pid, root: root, source: source, target: target}, job.attach)
}

// Detach implements inject.Attacher: it unmounts source from target, and from
// wherever a container that renames directories has moved it. A process that has
// ended, or anything else at target, is no error. source must still be there: it
// is how the mount is told from others.
func (m *Mounter) Detach(ctx context.Context, pid int, source, target string) error {
	err := m.run(ctx, job{pid: pid, source: source, target: target}, job.detach)
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

// checkPath accepts absolute paths as path.Clean makes them, except the root.
func checkPath(name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%q cannot be mounted at: it must be an absolute path beneath / without //, ., .. or control characters", name)
	}
	return nil
}

// run does the work on a thread of its own and waits for it until ctx is done:
// a container may have a filesystem that never answers. Either the answer is
// taken, or the work undoes what it did.
func (m *Mounter) run(ctx context.Context, j job, work func(job, context.Context, *fds) (undo func() error, err error)) error {
	if err := checkPath(j.target); err != nil {
		return err
	}
	late := func() error {
		return fmt.Errorf("mount at %s of process %d: a filesystem of the container did not answer in time: %w", j.target, j.pid, ctx.Err())
	}
	release, err := m.claim(ctx, j.pid)
	if err != nil {
		return late()
	}
	answers, closed := make(chan error), make(chan struct{})
	onThread(func() {
		defer close(closed)
		defer release()
		var held fds
		defer held.close()
		undo, err := work(j, ctx, &held)
		select {
		case answers <- err:
		case <-ctx.Done():
			if undo != nil {
				_ = undo() // nobody is left to tell
			}
		}
	})
	select {
	case err := <-answers:
		<-closed // what is held in the container would keep others from unmounting it
		if err != nil {
			return fmt.Errorf("mount at %s of process %d: %w", j.target, j.pid, err)
		}
		return nil
	case <-ctx.Done():
		return late()
	}
}

// claim waits until no other call works on the process.
func (m *Mounter) claim(ctx context.Context, pid int) (release func(), err error) {
	own := make(chan struct{})
	for {
		m.mu.Lock()
		other, taken := m.busy[pid]
		if !taken {
			m.busy[pid] = own
		}
		m.mu.Unlock()
		if !taken {
			break
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() {
		m.mu.Lock()
		delete(m.busy, pid)
		m.mu.Unlock()
		close(own)
	}, nil
}
