package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dockerd's own defaults (moby cmd/dockerd and daemon/config).
const (
	defaultExecRoot   = "/var/run/docker"
	defaultConfigFile = "/etc/docker/daemon.json"
	defaultPidFile    = "/var/run/docker.pid"
)

// ExecRoot is the directory in which the engine keeps what it starts containers
// with: their variables are there in clear text while they run. The API does
// not say it; the command line and the file of the dockerd that has the socket
// do. The error says what could not be seen.
func (e *Engine) ExecRoot(ctx context.Context) (string, error) {
	pid, err := e.dockerd(ctx)
	if err != nil {
		return "", err
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", fmt.Errorf("read dockerd's command line: %w", err)
	}
	args := strings.Split(string(line), "\x00")
	if dir, said := flagOf(args, "exec-root"); said {
		return dir, nil
	}
	file, said := flagOf(args, "config-file")
	if !said {
		file = defaultConfigFile
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return defaultExecRoot, nil
	}
	if err != nil {
		return "", fmt.Errorf("read dockerd's configuration: %w", err)
	}
	config := struct {
		ExecRoot string `json:"exec-root"`
	}{defaultExecRoot}
	if err := json.Unmarshal(content, &config); err != nil {
		return "", fmt.Errorf("read dockerd's configuration %s: %w", file, err)
	}
	return config.ExecRoot, nil
}

// dockerd is the process that listens at the engine's socket. Where systemd
// began to listen, the kernel names systemd, and the usual file names dockerd.
func (e *Engine) dockerd(ctx context.Context) (pid int, err error) {
	path, isUnix := strings.CutPrefix(e.options.Host, "unix://")
	if !isUnix {
		return 0, fmt.Errorf("the engine at %s is none of this machine", e.options.Host)
	}
	if pid, err = listenerOf(ctx, path); err == nil && isDockerd(pid) {
		return pid, nil
	}
	text, fileErr := os.ReadFile(defaultPidFile)
	if fileErr != nil {
		return 0, fmt.Errorf("find the dockerd at %s: %w", path, errors.Join(err, fileErr))
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || !isDockerd(pid) {
		return 0, fmt.Errorf("find the dockerd at %s: %s names none", path, defaultPidFile)
	}
	return pid, nil
}

func isDockerd(pid int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.TrimSpace(string(comm)) == "dockerd"
}

// listenerOf is the process that began to listen at a socket (unix(7),
// SO_PEERCRED).
func listenerOf(ctx context.Context, path string) (pid int, err error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	raw, err := connection.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(controlErr, err); err != nil {
		return 0, err
	}
	return int(peer.Pid), nil
}

// flagOf finds a flag on a command line, as --name=value or --name value.
func flagOf(args []string, name string) (value string, said bool) {
	for i, arg := range args {
		flag, value, inOne := strings.Cut(arg, "=")
		switch {
		case strings.TrimLeft(flag, "-") != name || !strings.HasPrefix(flag, "-"):
		case inOne:
			return value, true
		case i+1 < len(args):
			return args[i+1], true
		}
	}
	return "", false
}
