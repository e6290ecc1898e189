package attach

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// errElsewhere says that something else than the tree lies there.
var errElsewhere = errors.New("what lies there is not the tree")

// Sees implements inject.Looker. Links are followed beneath the root of the
// process, as it follows them itself: what lies there is only compared, and
// nothing is mounted or made there, for which no link would be followed.
func (m *Mounter) Sees(ctx context.Context, pid int, source, target string) (bool, error) {
	err := m.run(ctx, job{pid: pid, source: source, target: target}, job.sees)
	if errors.Is(err, errElsewhere) {
		return false, nil
	}
	return err == nil, err
}

func (j job) sees(_ context.Context, held *fds) (undo func() error, err error) {
	p, err := openProcess(j.pid, held)
	if err != nil {
		return nil, err
	}
	tree, err := p.openTree(j.source)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat2(p.root, j.target[1:], &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.EAGAIN): // renamed on the way by who runs there: nobody's fault but its own
		return nil, err
	case err != nil:
		return nil, errElsewhere
	}
	found, err := look(p.add(fd), j.target)
	if err == nil && !found.same(tree) {
		err = errElsewhere
	}
	return nil, err
}
