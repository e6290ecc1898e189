// Package socket opens the Unix sockets at which the gates listen, and says who
// knocks.
//
// Whoever may speak to a gate may have the secrets of any container. So a
// socket belongs to root alone, nobody else may put one in its place, and the
// kernel is asked who the peer of each connection is.
package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// The decisions that opening a socket can end with.
var (
	// ErrInUse says that somebody listens at the socket already.
	ErrInUse = errors.New("an agent is listening there already")
	// ErrUnsafe says that others could put a socket of theirs in its place.
	ErrUnsafe = errors.New("others than the agent may write there: it must belong to root, and nobody else may write to it (mode 0711)")
	// ErrPeer says that the peer is neither root nor the agent's own user.
	ErrPeer = errors.New("not a process of root")
)

// Listen opens a socket of mode 0600, in a directory that is made with mode
// 0711 when it is missing. What a dead agent left there is removed.
func Listen(socket string) (*net.UnixListener, error) {
	if err := prepareDir(filepath.Dir(socket)); err != nil {
		return nil, err
	}
	if err := removeStale(socket); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// Between the two calls the mode is the umask's; CheckPeer holds regardless.
	if err := os.Chmod(socket, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

func prepareDir(dir string) error {
	switch err := os.Mkdir(dir, 0o711); {
	case err == nil:
		return os.Chmod(dir, 0o711) // whatever the umask is
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !trusted(owner) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("directory %s (mode %04o, owner %d): %w", dir, info.Mode().Perm(), owner, ErrUnsafe)
	}
	return nil
}

// removeStale removes the socket that a dead agent left: one that refuses.
func removeStale(socket string) error {
	info, err := os.Lstat(socket)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is no socket is in its place: remove it")
	}
	conn, err := net.Dial("unix", socket)
	if err == nil {
		conn.Close()
		return ErrInUse
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(socket)
}

// trusted: root may speak for any container, and so may the agent's own user,
// which is root but where a rootless engine is served.
func trusted(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// CheckPeer asks the kernel who connected, and accepts root and the agent's own
// user.
func CheckPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	var failure error
	if err := raw.Control(func(fd uintptr) {
		peer, failure = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failure != nil {
		return fmt.Errorf("SO_PEERCRED: %w", failure)
	}
	if !trusted(peer.Uid) {
		return fmt.Errorf("process %d of user %d: %w", peer.Pid, peer.Uid, ErrPeer)
	}
	return nil
}

// RootOnly is a listener that turns away all peers that CheckPeer does, and
// says so.
func RootOnly(listener *net.UnixListener, log *slog.Logger) net.Listener {
	return rootOnly{listener, log}
}

type rootOnly struct {
	*net.UnixListener
	log *slog.Logger
}

// Accept implements net.Listener.
func (l rootOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if err := CheckPeer(conn); err != nil {
			l.log.Warn("a socket of the agent's turned a peer away", "socket", l.Addr(), "error", err)
			conn.Close()
			continue
		}
		return conn, nil
	}
}
