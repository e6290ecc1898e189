package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/broker/api"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/inject/cdi"
	"github.com/quaymaster/quaymaster/inject/docker"
)

// engineLook is what the engine says of itself.
type engineLook struct {
	looked      chan struct{} // closed when the rest is known
	setup       docker.Setup
	err         error
	execRoot    string
	execRootErr error
}

func newEngineLook() *engineLook { return &engineLook{looked: make(chan struct{})} }

func (e *engineLook) look(ctx context.Context, c config.Config, log *slog.Logger) {
	defer close(e.looked)
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	engine, err := docker.New(docker.Options{Host: c.Docker.Host, Log: log})
	if err != nil {
		e.err = err
		return
	}
	defer engine.Close()
	if e.setup, e.err = engine.Setup(ctx); e.err == nil {
		e.execRoot, e.execRootErr = engine.ExecRoot(ctx)
	}
}

// engineAnswers says whether there is an engine.
func (d *doctor) engineAnswers(context.Context) finding {
	host := d.config.Docker.Host
	switch err := d.engine.err; {
	case errors.Is(err, fs.ErrPermission):
		return doubt("run it as root", "%s: only root can ask: %v", host, err)
	case errors.Is(err, context.DeadlineExceeded):
		return wrong("wait: an engine that restores containers answers nobody; if it stays so, journalctl -u docker", "%s: the engine does not answer within %s", host, checkPatience)
	case err != nil:
		return wrong("start it (systemctl start docker), or correct docker.host", "%s: %v", host, err)
	}
	return fine("%s: Docker Engine %s (API %s), runtimes %s, default %s", host, d.engine.setup.Version, d.engine.setup.API,
		strings.Join(runtimes(d.engine.setup), ", "), d.engine.setup.DefaultRuntime)
}

func runtimes(s docker.Setup) (names []string) {
	for name := range s.Runtimes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// unseen is the finding about the engine where it did not answer.
func (d *doctor) unseen() (f finding, unseen bool) {
	return doubt("see engine", "it could not be seen: the engine does not say"), d.engine.err != nil
}

const installRemedy = "quaymaster install docker-runtime --default"

// runtimeGate says whether containers pass the runtime gate.
func (d *doctor) runtimeGate(ctx context.Context) finding {
	if f, unseen := d.unseen(); unseen {
		return f
	}
	setup := d.engine.setup
	program, installed := setup.Runtimes[runtimeName]
	switch {
	case !installed && len(d.config.Profiles) > 0:
		return doubt(installRemedy+", unless all containers name a profile (a volume or a CDI device)", "the runtime %s is not installed: labels give nothing", runtimeName)
	case !installed:
		return wrong(installRemedy, "the runtime %s is not installed: containers get nothing", runtimeName)
	}
	said, err := versionOf(ctx, program)
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return doubt("run it as root", "runtime %s is %s, which could not be looked at: %v", runtimeName, program, err)
	case err != nil:
		return wrong("install the package again, or quaymaster install docker-runtime with --runtime-path", "runtime %s is %s, which does not run, so its containers do not start: %v", runtimeName, program, err)
	case said != version:
		return doubt("install both of one release; new starts take the new one at once", "%s is of version %s, and this program of %s", program, said, version)
	case setup.DefaultRuntime != runtimeName:
		return doubt(installRemedy+", or runtime: "+runtimeName+" with each container that has labels", "%s %s is installed; the default is %s, so containers pass the gate only if they name it", program, said, setup.DefaultRuntime)
	}
	return fine("%s %s is installed and the default", program, said)
}

// versionOf asks a quaymaster-runtime for its version.
func versionOf(ctx context.Context, program string) (string, error) {
	out, err := exec.CommandContext(ctx, program, "--quaymaster-version").Output()
	return strings.TrimSpace(string(out)), err
}

// plugin asks the plugin's socket what the engine would ask first.
func (d *doctor) plugin(ctx context.Context) finding {
	if d.config.Docker.Plugin == "" {
		return fine("the configuration wants none")
	}
	socket := pluginSocket(d.config)
	does, err := activate(ctx, socket)
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0:
		return doubt("run it as root", "%s: only root can ask", socket)
	case err != nil:
		return wrong("start the agent (systemctl start quaymaster.socket quaymaster-plugin.socket quaymaster): without it, a start with such a volume takes 30 s to fail", "%s: %v", socket, err)
	case !slices.Contains(does, "VolumeDriver"):
		return wrong("give the driver another name in docker.plugin", "%s answers, but is not ours: it does %s", socket, strings.Join(does, ", "))
	}
	return fine("%s answers: %s", socket, strings.Join(does, ", "))
}

// activate is the handshake of Docker's plugin protocol.
func activate(ctx context.Context, socket string) (does []string, err error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/Plugin.Activate", bytes.NewReader(nil))
	if err != nil {
		return nil, err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var manifest struct{ Implements []string }
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&manifest); err != nil {
		return nil, fmt.Errorf("it answers %s, and not as a plugin does: %w", answer.Status, err)
	}
	return manifest.Implements, nil
}

// devices says whether profiles are devices.
func (d *doctor) devices(context.Context) finding {
	dir := d.config.Docker.CDIDir
	if dir == "" || len(d.config.Profiles) == 0 {
		return fine("the configuration offers no devices")
	}
	if f, unseen := d.unseen(); unseen {
		return f
	}
	file := filepath.Join(dir, cdi.FileName)
	_, err := os.Stat(file)
	switch {
	case len(d.engine.setup.CDIDirs) == 0:
		return doubt("use the volume plugin or the runtime gate, or Docker 25 or later with the feature cdi", "the engine has no CDI, so profiles cannot be devices")
	case !slices.ContainsFunc(d.engine.setup.CDIDirs, func(known string) bool { return sameDir(known, dir) }):
		return wrong("set docker.cdi_dir to one of these, or cdi-spec-dirs in daemon.json", "the engine looks for devices in %s, and docker.cdi_dir is %s", strings.Join(d.engine.setup.CDIDirs, ", "), dir)
	case err != nil:
		return wrong("start the agent, which writes it", "%v", err)
	}
	return fine("%s offers the profiles as devices %s=NAME", file, cdi.Kind)
}

// sameDir passes over that /var/run is /run.
func sameDir(a, b string) bool {
	first, errA := os.Stat(a)
	second, errB := os.Stat(b)
	return filepath.Clean(a) == filepath.Clean(b) || errA == nil && errB == nil && os.SameFile(first, second)
}

// liveRestore says what a restart of the engine does to containers.
func (d *doctor) liveRestore(context.Context) finding {
	f, unseen := d.unseen()
	switch {
	case unseen:
		return f
	case d.engine.setup.LiveRestore:
		return fine("containers live on when dockerd restarts")
	case d.engine.setup.Swarm:
		return fine("off, as a swarm wants it: containers end with dockerd, and pass the gates when it starts them again")
	}
	return doubt(`"live-restore": true in daemon.json`, "off: containers end with dockerd, and pass the gates when it starts them again")
}

// usernsRemap says whose the containers' files are.
func (d *doctor) usernsRemap(context.Context) finding {
	f, unseen := d.unseen()
	switch {
	case unseen:
		return f
	case d.engine.setup.UsernsRemap:
		return fine("on: root in a container is another user of the host")
	}
	return fine("off: root in a container is root of the host, held back by what Docker takes from it")
}

// execRoot says whether the engine keeps variables in memory.
func (d *doctor) execRoot(context.Context) finding {
	if f, unseen := d.unseen(); unseen {
		return f
	}
	if d.engine.execRootErr != nil {
		return doubt("run it as root, on the host itself", "it could not be seen: %v", d.engine.execRootErr)
	}
	dir := d.engine.execRoot
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return doubt("run it as root, on the host itself", "%s could not be looked at: %v", dir, err)
	}
	if stat.Type != unix.TMPFS_MAGIC && stat.Type != unix.RAMFS_MAGIC {
		return wrong("have /run on a tmpfs, or set exec-root in daemon.json to a directory on one; until then use no quaymaster.env labels: the agent refuses them",
			"%s is on a disk, where the engine would write the variables of containers", dir)
	}
	return fine("%s is in memory", dir)
}

// agent says whether the agent runs, and how its containers are.
func (d *doctor) agent(ctx context.Context) finding {
	containers, err := api.NewClient(agentSocket(d.config)).Containers(ctx)
	switch {
	case errors.Is(err, api.ErrNotRoot):
		return doubt("run it as root", "%v", err)
	case err != nil:
		return wrong("systemctl start quaymaster; journalctl -u quaymaster says why it does not run", "%v", err)
	}
	var ungated, failing []string
	for _, c := range containers {
		if c.Ungated {
			ungated = append(ungated, c.Name)
		}
		if c.Failing != "" {
			failing = append(failing, c.Name)
		}
	}
	slices.Sort(ungated)
	slices.Sort(failing)
	switch {
	case len(ungated) > 0:
		return doubt("quaymaster attach them, or restart them through a gate", "it runs, with %d containers, of which these run WITHOUT their secrets: %s", len(containers), strings.Join(ungated, ", "))
	case len(failing) > 0:
		return doubt("quaymaster ps says why", "it runs, with %d containers, of which these have not got their new secrets: %s", len(containers), strings.Join(failing, ", "))
	}
	return fine("it runs, with %d containers", len(containers))
}
