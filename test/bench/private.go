package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// privateVariable tells the inner bench from the outer one.
const privateVariable = "QUAYMASTER_BENCH_PRIVATE"

// defaultRun is the agent's run directory on a host whose operator changed
// nothing. Only there the gate is entered into daemon.json without arguments,
// and an engine starts it without a shell in between. So that is what must be
// measured; but the machine may have an agent of its own. Hence bench runs
// itself once more in a mount namespace of its own, in which /run is empty.
const defaultRun = "/run/quaymaster"

func private() bool { return os.Getenv(privateVariable) != "" }

// runPrivately runs this program again, in a mount namespace of its own, and
// ends as that ends.
func runPrivately(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a private engine needs root: use `make bench`, or sudo")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	runtime.LockOSThread() // Pdeathsig means the death of the thread that starts it
	inner := exec.CommandContext(ctx, program, os.Args[1:]...)
	inner.Stdin, inner.Stdout, inner.Stderr = os.Stdin, os.Stdout, os.Stderr
	inner.Env = append(os.Environ(), privateVariable+"=1")
	inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	inner.Cancel = func() error { return inner.Process.Signal(syscall.SIGTERM) } // it cleans up, and is waited for
	if err := inner.Run(); err != nil {
		return fmt.Errorf("in the private mount namespace: %w", err)
	}
	return nil
}

// emptyRun mounts an empty /run. What the machine unmounts meanwhile is
// unmounted here too; what is mounted here nobody else sees, and it is gone
// with the last process in here.
func emptyRun() error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts from the machine: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount an empty /run: %w", err)
	}
	return nil
}
