// Package netns makes network namespaces for tests.
//
// A Namespace has a loopback interface that is up, and nothing else: what
// listens in it is reached by what runs in it and by nobody else. So tests
// can have addresses that a machine has only once, such as the link-local one of
// a cloud's metadata service, or Docker's bridge, without touching the machine's own.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that lives as long as it is not closed or a
// process is in it.
type Namespace struct{ file *os.File }

// New makes a network namespace with a loopback interface that is up. It takes
// root.
func New() (*Namespace, error) {
	n := new(Namespace)
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

// Do calls f on a thread that is in the namespace. A process that f starts is
// in it too, and what f listens on stays in it. A nil Namespace is the network
// that this process is in.
func (n *Namespace) Do(f func() error) error {
	if n == nil {
		return f()
	}
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// AddAddress gives the loopback interface a further address, such as
// 169.254.169.254/32.
func (n *Namespace) AddAddress(address string) error {
	return n.ip("address", "add", address, "dev", "lo")
}

// Close gives the namespace up.
func (n *Namespace) Close() error { return n.file.Close() }

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
