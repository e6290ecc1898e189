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
	pid, err := readPID(pidFile)
	if err != nil {
		return err
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

func readPID(pidFile string) (int, error) {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%w: there is no %s", ErrNotRunning, pidFile)
	}
	if err != nil {
		return 0, fmt.Errorf("finding dockerd: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("finding dockerd: %s does not hold the ID of a process", pidFile)
	}
	return pid, nil
}

// ErrFlags says that dockerd was started with flags that stand for the same
// settings. It takes such a file at a reload, and then refuses to start with
// it (moby daemon/config, findConfigurationConflicts).
var ErrFlags = errors.New("dockerd was started with a flag for what would be entered into daemon.json, and would not start again with both")

// CheckFlags looks for such flags on the command line of the dockerd whose
// process ID is in pidFile. That none runs is no error.
func CheckFlags(pidFile string, change Change) error {
	pid, err := readPID(pidFile)
	if err == nil {
		err = check(pid, pidFile)
	}
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return fmt.Errorf("reading dockerd's command line: %w", err)
	}
	for arg := range strings.SplitSeq(string(line), "\x00") {
		flag, _, _ := strings.Cut(arg, "=")
		if flag == "--add-runtime" || (flag == "--default-runtime" && change.Default) {
			return fmt.Errorf("%w: take %s out of its command line (often in its systemd unit) and enter it into daemon.json", ErrFlags, flag)
		}
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
