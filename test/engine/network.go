package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// network is a network namespace that lives as long as its file is open or a
// process is in it.
type network struct{ file *os.File }

// newNetwork makes a network namespace with a loopback interface that is up.
func newNetwork() (*network, error) {
	n := new(network)
	err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return n, err
}

// do calls f on a thread that is in the namespace. A process that f starts is
// in it too.
func (n *network) do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the engine's network namespace: %w", err)
		}
		return f()
	})
}

func (n *network) close() error { return n.file.Close() }

// onOwnThread calls f on a thread that nothing else ever uses: the goroutine
// never unlocks it, so the runtime ends it instead of using it again in the
// wrong namespace.
func onOwnThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			result <- f()
			return
		}
		// The main thread cannot end: it would stay in the namespace, and
		// /proc/self with it. While it is locked here, f gets another one.
		defer runtime.UnlockOSThread()
		result <- onOwnThread(f)
	}()
	return <-result
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// dial says whether somebody accepts connections on a Unix socket.
func dial(ctx context.Context, socket string) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return connection.Close()
}
