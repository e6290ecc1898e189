// Package engine starts a private Docker Engine for tests and the demo, and
// the images that they run.
//
// An Engine is a containerd and a dockerd that share nothing with the
// machine's own: they have a directory of their own, in which the data-root
// lies on a disk (tests search it for plaintext) and the exec-root on a tmpfs
// (as on a host that is set up well), and a network namespace of their own,
// so that its bridge, addresses and packet filter are nobody else's. As on a
// Debian host, containerd is a process of its own and outlives a dockerd that
// is killed or restarted.
//
// There is no registry: images are imported. The probe (probe/probe.c) is the
// witness of most tests; it reports what a container could read at its very
// first instruction, and ParseReports reads what it says.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/daemon"
	"github.com/quaymaster/quaymaster/test/netns"
)

// Errors that a caller may want to tell apart.
var (
	// ErrNotRoot says that only root can start an Engine.
	ErrNotRoot = errors.New("a private Docker Engine needs root: run as root or with sudo")
	// ErrMissing says that a program is not installed.
	ErrMissing = errors.New("not installed: run `make setup`")
	// ErrStopped says that the Engine was stopped and cannot come back.
	ErrStopped = errors.New("the engine was stopped")
)

// Limits of one start and one stop, for callers whose context has none.
const (
	startTimeout = 2 * time.Minute
	stopTimeout  = time.Minute
)

// Options of an Engine. The zero value is a plain engine of the machine's own
// programs.
type Options struct {
	// Kind says whose programs the Engine is made of.
	Kind Kind
	// Parent is the directory to make the Engine's own directory in; empty
	// means /var/tmp. It must be on a disk, and every user must be able to
	// pass through it, because a remapped root is not root.
	Parent string
	// UsernsRemap runs containers in a user namespace: dockerd's own
	// "userns-remap": "default". With it, dockerd makes the user dockremap
	// once per machine and lets usermod append a free range to /etc/subuid
	// and /etc/subgid, as on any host with this setting; what is in these
	// files already stays as it is.
	UsernsRemap bool
	// LiveRestore keeps containers running while dockerd is down.
	LiveRestore bool
	// CgroupV2 makes the Engine see cgroup v2 on a machine that is on v1: in a
	// mount namespace of its own, without the controllers that are v1's.
	CgroupV2 bool
	// Shared is a directory in which the Engine sees what is mounted after its
	// start, even if it has a mount namespace of its own. There are machines
	// on which / is not shared, as systemd would have it.
	Shared string
	// Hostname is what the Engine's host is called; empty: as the machine. The
	// nodes of a swarm are told apart by it.
	Hostname string
	// ExtraConfig is merged into daemon.json and wins over the above.
	ExtraConfig map[string]any
}

// Engine is a private Docker Engine. Its methods must not be called
// concurrently, except for those that only talk to the API.
type Engine struct {
	kind       Kind
	programs   installation
	dir        string
	lock       *os.File // held while this process owns dir
	network    *netns.Namespace
	mounts     *os.File // the mount namespace; nil: the machine's
	shared     string   // Options.Shared, mounted on itself
	hostname   string   // Options.Hostname
	containerd *daemon.Daemon
	dockerd    *daemon.Daemon
	client     *client.Client
}

// Start starts an Engine and waits until its API answers. ctx bounds the
// start, not the life of the Engine: end that with Remove.
func Start(ctx context.Context, o Options) (_ *Engine, err error) {
	if err := allowed(os.Geteuid()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	kind, err := o.Kind.settle()
	if err != nil {
		return nil, err
	}
	programs, err := install(ctx, kind)
	if err != nil {
		return nil, err
	}
	e := &Engine{kind: kind, programs: programs, hostname: o.Hostname}
	if err := e.claim(ctx, o.Parent); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Remove(context.WithoutCancel(ctx)))
		}
	}()
	if err := e.prepare(o); err != nil {
		return nil, err
	}
	if err := e.launchContainerd(ctx); err != nil {
		return nil, err
	}
	if !o.UsernsRemap {
		return e, e.launchDockerd(ctx)
	}
	// Two that make the user dockremap at the same time disturb each other.
	unlock, err := lock(ctx, "userns")
	if err != nil {
		return nil, err
	}
	defer unlock()
	return e, e.launchDockerd(ctx)
}

// allowed says whether a user can mount, and start containers.
func allowed(uid int) error {
	if uid != 0 {
		return ErrNotRoot
	}
	return nil
}

// prepare makes everything that must be there before the first process.
func (e *Engine) prepare(o Options) error {
	if err := e.mountExecRoot(); err != nil {
		return err
	}
	if err := e.writeConfig(o); err != nil {
		return err
	}
	network, err := netns.New()
	if err != nil {
		return err
	}
	e.network = network
	if err := e.unify(o); err != nil {
		return err
	}
	e.client, err = client.NewClientWithOpts(client.WithHost(e.Host()), client.WithAPIVersionNegotiation())
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", e.Host(), err)
	}
	return nil
}

// mountExecRoot mounts the tmpfs of the exec-root. The engine keeps each
// container's config.json there, and with it injected environment.
func (e *Engine) mountExecRoot() error {
	if err := os.Mkdir(e.ExecRoot(), 0o711); err != nil {
		return fmt.Errorf("make the exec-root: %w", err)
	}
	if err := unix.Mount("tmpfs", e.ExecRoot(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0711"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", e.ExecRoot(), err)
	}
	return nil
}

// writeConfig writes daemon.json and containerd's configuration. daemon.json
// holds only what a test chose: the rest are flags, so that a test may
// replace the file.
func (e *Engine) writeConfig(o Options) error {
	config := map[string]any{}
	if o.UsernsRemap {
		config["userns-remap"] = "default"
	}
	if o.LiveRestore {
		config["live-restore"] = true
	}
	maps.Copy(config, o.ExtraConfig)
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("encode daemon.json: %w", err)
	}
	if err := os.WriteFile(e.ConfigFile(), append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("write daemon.json: %w", err)
	}
	if err := os.WriteFile(e.file("containerd.toml"), []byte(e.containerdConfig()), 0o600); err != nil {
		return fmt.Errorf("write containerd's configuration: %w", err)
	}
	return nil
}

// containerdConfig leaves out what serves Kubernetes or writes elsewhere. Names
// of plugins that a containerd does not have do not disturb it.
func (e *Engine) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = [
	"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
	"io.containerd.podsandbox.controller.v1.podsandbox", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
]
`, e.file("containerd"), filepath.Join(e.ExecRoot(), "containerd"))
}

// launchContainerd starts containerd and waits until it accepts connections.
func (e *Engine) launchContainerd(ctx context.Context) error {
	process, err := e.launch("containerd", "--config", e.file("containerd.toml"), "--address", e.containerdSocket())
	if err != nil {
		return err
	}
	e.containerd = process
	return process.Until(ctx, func(ctx context.Context) error { return dial(ctx, e.containerdSocket()) })
}

// launchDockerd starts dockerd and waits until its API answers.
func (e *Engine) launchDockerd(ctx context.Context) error {
	process, err := e.launch("dockerd",
		"--data-root", e.DataRoot(), "--exec-root", e.ExecRoot(), "--pidfile", e.PidFile(),
		"--config-file", e.ConfigFile(), "--host", e.Host(), "--containerd", e.containerdSocket())
	if err != nil {
		return err
	}
	e.dockerd = process
	return process.Until(ctx, func(ctx context.Context) error {
		_, err := e.client.Ping(ctx)
		return err
	})
}

// searchPath is where Debian installs the engine's programs, whatever PATH
// the tests were started with.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// launch starts a program in the Engine's network namespace, with none of the
// environment of whoever runs the tests.
func (e *Engine) launch(program string, args ...string) (process *daemon.Daemon, err error) {
	path, err := e.programs.find(program)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = e.dir
	cmd.Env = []string{"PATH=" + e.programs.path, "HOME=/root"}
	err = e.network.Do(func() error {
		if e.mounts != nil {
			if err := enterMounts(e.mounts); err != nil {
				return err
			}
		}
		if err := e.nameHost(); err != nil {
			return err
		}
		process, err = daemon.Start(cmd, e.LogFile())
		return err
	})
	return process, err
}

// nameHost gives the thread that it is called on, and what that starts, a host
// name of its own.
func (e *Engine) nameHost() error {
	if e.hostname == "" {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("make a UTS namespace: %w", err)
	}
	return unix.Sethostname([]byte(e.hostname))
}

// find is the path of a program that the machine must have.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range filepath.SplitList(searchPath) {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, ErrMissing)
}

// Kind says whose programs the Engine is made of.
func (e *Engine) Kind() Kind { return e.kind }

// Host is the API's address as clients want it: unix:///…
func (e *Engine) Host() string { return "unix://" + e.Socket() }

// Socket is the path of the API's Unix socket.
func (e *Engine) Socket() string { return e.file("docker.sock") }

// Client talks to the Engine with the API version that it speaks.
func (e *Engine) Client() *client.Client { return e.client }

// Dir is the Engine's own directory; all other paths are below it.
func (e *Engine) Dir() string { return e.dir }

// DataRoot is the engine's data-root, on a disk.
func (e *Engine) DataRoot() string { return e.file("data") }

// ExecRoot is the engine's exec-root, on a tmpfs that is gone after Stop.
func (e *Engine) ExecRoot() string { return e.file("exec") }

// ConfigFile is the engine's daemon.json. Tests may replace it; then Reload
// or Restart.
func (e *Engine) ConfigFile() string { return e.file("daemon.json") }

// PidFile holds dockerd's process ID.
func (e *Engine) PidFile() string { return e.file("docker.pid") }

// LogFile holds what dockerd and containerd wrote, over all restarts.
func (e *Engine) LogFile() string { return e.file("engine.log") }

// LogTail is the last lines of LogFile.
func (e *Engine) LogTail(lines int) string { return daemon.Tail(e.LogFile(), lines) }

func (e *Engine) containerdSocket() string {
	return filepath.Join(e.ExecRoot(), "containerd", "containerd.sock")
}

func (e *Engine) file(name string) string { return filepath.Join(e.dir, name) }

// dial says whether somebody accepts connections on a Unix socket.
func dial(ctx context.Context, socket string) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return connection.Close()
}
