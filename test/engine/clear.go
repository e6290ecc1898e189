package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clear ends every process and undoes every mount that the engine left. After
// a clean shutdown there is little to do; after a crash there are shims,
// containers, their mounts and their cgroups.
func (e *Engine) clear(ctx context.Context) error {
	ids := e.containerIDs()
	sockets := e.shimSockets()
	if err := e.endProcesses(ctx, ids); err != nil {
		return err
	}
	for _, socket := range sockets {
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the socket of a dead shim: %w", err)
		}
	}
	for _, id := range ids {
		if err := removeCgroups(id); err != nil {
			return err
		}
	}
	return unmountBelow(e.dir)
}

// containerIDs are the containers that the engine knows, running or not. With
// userns-remap they lie one directory deeper.
func (e *Engine) containerIDs() []string {
	var ids []string
	for _, pattern := range []string{"containers/*", "*/containers/*"} {
		found, _ := filepath.Glob(filepath.Join(e.DataRoot(), pattern)) // a constant pattern cannot be bad
		for _, dir := range found {
			if id := filepath.Base(dir); len(id) == 64 {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// shimSockets are the sockets that shims made outside the exec-root: their
// place is compiled into containerd.
func (e *Engine) shimSockets() []string {
	var sockets []string
	for _, name := range []string{"address", "bootstrap.json"} { // of containerd 1 and 2
		files, _ := filepath.Glob(filepath.Join(e.ExecRoot(), "containerd/*/*/*", name)) // a constant pattern cannot be bad
		for _, file := range files {
			content, _ := os.ReadFile(file) // one that is gone meanwhile reads as empty
			if address := shimAddress(content); address != "" {
				sockets = append(sockets, strings.TrimPrefix(address, "unix://"))
			}
		}
	}
	return sockets
}

// shimAddress is what a shim said at its start: its address, and since
// containerd 2 more about itself, as JSON.
func shimAddress(said []byte) string {
	var bootstrap struct{ Address string }
	if err := json.Unmarshal(said, &bootstrap); err != nil {
		return string(said)
	}
	return bootstrap.Address
}

// endProcesses kills what is left of the engine and waits until it is gone.
func (e *Engine) endProcesses(ctx context.Context, ids []string) error {
	for {
		left, err := e.processes(ids)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, pid := range left {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d of the engine: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v of the engine do not end: %w", left, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// processes are the living processes of the engine, this one excepted: those
// whose command line names its exec-root (both daemons, shims, runtimes) and those
// in the cgroup of one of its containers.
func (e *Engine) processes(ids []string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process that is gone meanwhile reads as empty.
		cmdline, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		cgroup, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		ours := bytes.Contains(cmdline, []byte(e.ExecRoot()+"/")) || containsAny(cgroup, ids)
		if ours && !dead(pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// dead says whether a process has ended, though its parent may not have asked
// yet: its state, after the name in parentheses, is Z or X (proc(5)).
func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	state := stat[bytes.LastIndexByte(stat, ')')+1:]
	return bytes.HasPrefix(state, []byte(" Z")) || bytes.HasPrefix(state, []byte(" X"))
}

func containsAny(text []byte, ids []string) bool {
	for _, id := range ids {
		if bytes.Contains(text, []byte(id)) {
			return true
		}
	}
	return false
}

// removeCgroups removes the empty cgroups of a container that nobody was left
// to remove, in the hierarchies of cgroup v1 and in that of v2.
func removeCgroups(id string) error {
	for _, pattern := range []string{"/sys/fs/cgroup/docker/", "/sys/fs/cgroup/*/docker/"} {
		dirs, _ := filepath.Glob(pattern + id) // a constant pattern cannot be bad
		for _, dir := range dirs {
			if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove the cgroup of a dead container: %w", err)
			}
		}
	}
	return nil
}

// unmountBelow undoes every mount below dir, the newest first.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		// Detached: a process that is just ending may still stand in it.
		if err := unix.Unmount(mounts[i], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", mounts[i], err)
		}
	}
	return nil
}

// mountsBelow are the mount points below dir, oldest first. The path is the
// fifth field of a line of mountinfo (proc(5)).
func mountsBelow(dir string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts, nil
}
