package daemonjson

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// daemon is the name that the kernel has for the process (proc(5), comm).
const daemon = "dockerd"

// ErrNotRunning says that there is no dockerd to reload. It reads the file
// when it starts.
var ErrNotRunning = errors.New("dockerd is not running")

// Reload tells the dockerd whose process ID is in pidFile to read daemon.json
// again. It signals nothing but a dockerd.
func Reload(pidFile string) error {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: there is no %s", ErrNotRunning, pidFile)
	}
	if err != nil {
		return fmt.Errorf("finding dockerd: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("finding dockerd: %s does not hold the ID of a process", pidFile)
	}
	// On Linux a Process is a pidfd: from here on it cannot become another
	// process that gets the same ID.
	process, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("finding dockerd: process %d of %s: %w", pid, pidFile, err)
	}
	defer process.Release()
	if err := check(pid, pidFile); err != nil {
		return err
	}
	if err := process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("telling dockerd (process %d) to read daemon.json again: %w", pid, err)
	}
	return nil
}

func check(pid int, pidFile string) error {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%w: %s names process %d, which is gone", ErrNotRunning, pidFile, pid)
	}
	if err != nil {
		return fmt.Errorf("finding dockerd: process %d of %s: %w", pid, pidFile, err)
	}
	if name := strings.TrimSpace(string(comm)); name != daemon {
		return fmt.Errorf("%w: %s names process %d, which is %q", ErrNotRunning, pidFile, pid, name)
	}
	return nil
}
