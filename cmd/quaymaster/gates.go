package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/api"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/attach"
	"github.com/quaymaster/quaymaster/inject/cdi"
	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/inject/plugin"
	"github.com/quaymaster/quaymaster/inject/runtime"
	"github.com/quaymaster/quaymaster/inject/socket"
	"github.com/quaymaster/quaymaster/inject/swarm"
	"github.com/quaymaster/quaymaster/inject/volume"
)

func runtimeSocket(c config.Config) string { return filepath.Join(c.Paths.Run, "runtime.sock") }

func pluginSocket(c config.Config) string {
	return filepath.Join(c.Docker.PluginDir, c.Docker.Plugin+".sock")
}

// doors are the sockets at which the agent is asked. They listen before
// anything answers: who knocks early waits.
type doors struct {
	runtime, agent *net.UnixListener
	plugin         *net.UnixListener // nil: the configuration wants none
}

// openDoors takes the sockets that the supervisor listens at, and opens the
// others.
func openDoors(c config.Config, host *supervisor) (d doors, err error) {
	open := func(name, path string, listen func(string) (*net.UnixListener, error)) *net.UnixListener {
		listener := host.listener(name)
		if listener != nil || err != nil {
			return listener
		}
		if listener, err = listen(path); err != nil {
			err = fmt.Errorf("socket %s: %w", path, err)
		}
		return listener
	}
	d.runtime = open(socketRuntime, runtimeSocket(c), socket.Listen)
	d.agent = open(socketAgent, agentSocket(c), socket.Listen)
	if c.Docker.Plugin != "" {
		d.plugin = open(socketPlugin, pluginSocket(c), plugin.Listen)
	}
	if err != nil {
		d.close()
	}
	return d, err
}

// close closes what the gates' Run has not: one that is closed already is no
// error.
func (d doors) close() {
	for _, listener := range []*net.UnixListener{d.runtime, d.agent, d.plugin} {
		if listener != nil {
			listener.Close()
		}
	}
}

// gates are the ways in which containers, and the commands, reach the broker.
type gates struct {
	all []interface {
		Run(ctx context.Context) error
	}
	volumes *volume.Gate // nil: there is no plugin
}

func openGates(c config.Config, d doors, b *broker.Broker, engine *docker.Engine, m memory, log *slog.Logger) (g gates, err error) {
	g.all = append(g.all,
		runtime.New(runtime.Options{
			Listener: d.runtime, Deliverer: b, Ender: b, Attacher: attach.New(), Timeout: c.GateTimeout, Log: log,
		}),
		api.NewServer(api.Options{Listener: d.agent, Agent: desk{b}, Timeout: c.GateTimeout, Log: log}),
	)
	if d.plugin != nil {
		if g.volumes, err = openVolumes(c, b, engine, m, log); err != nil {
			return g, err
		}
		tasks := swarm.New(swarm.Options{Deliverer: b, Node: engine.Node, Timeout: c.GateTimeout, Log: log})
		g.all = append(g.all, plugin.New(plugin.Options{
			Listener: d.plugin, Subsystems: []plugin.Subsystem{g.volumes.Subsystem(), tasks.Subsystem()}, Log: log,
		}))
	}
	return g, writeDevices(c, log)
}

func openVolumes(c config.Config, b *broker.Broker, engine *docker.Engine, m memory, log *slog.Logger) (*volume.Gate, error) {
	return volume.New(volume.Options{
		Driver: c.Docker.Plugin, View: m.view, Deliverer: b, Ender: b, Finder: engine, State: filepath.Join(c.Paths.State, "volumes"),
		Profiles: func(name string) bool { _, found := c.Profiles[name]; return found }, Timeout: c.GateTimeout, Log: log,
	})
}

func (g gates) run(ctx context.Context, group *errgroup.Group) {
	for _, gate := range g.all {
		group.Go(func() error { return gate.Run(ctx) })
	}
}

func (g gates) close() {
	if g.volumes != nil {
		g.volumes.Close()
	}
}

// writeDevices offers the profiles as CDI devices. Engines without CDI pass
// over the file. A profile that cannot be a device is left out, with a warning.
func writeDevices(c config.Config, log *slog.Logger) error {
	if c.Docker.CDIDir == "" {
		return nil
	}
	hook, err := besideSelf("quaymaster-runtime")
	if err != nil {
		log.Warn("no CDI devices are offered", "error", err)
		return nil
	}
	return cdi.Write(cdi.Options{
		Dir: c.Docker.CDIDir, Hook: hook, Run: c.Paths.Run, Timeout: c.GateTimeout, Profiles: deviceProfiles(c, log),
	})
}

// deviceProfiles are the profiles that can be devices, with their paths in the
// container.
func deviceProfiles(c config.Config, log *slog.Logger) map[string]string {
	paths := map[string]string{}
	for name, profile := range c.Profiles {
		if len(profile.Secrets) == 0 {
			continue
		}
		if err := cdi.CheckName(name); err != nil {
			log.Warn("a profile is not offered as a CDI device", "profile", name, "error", err)
			continue
		}
		paths[name] = cmp.Or(profile.Path, workload.DefaultPath)
	}
	return paths
}

// desk answers the commands.
type desk struct{ broker *broker.Broker }

// Containers implements api.Agent.
func (d desk) Containers(context.Context) ([]api.Container, error) {
	var all []api.Container
	for _, status := range d.broker.Containers() {
		all = append(all, onDesk(status))
	}
	return all, nil
}

// Attach implements api.Agent.
func (d desk) Attach(ctx context.Context, name string) (api.Container, error) {
	status, err := d.broker.Attach(ctx, name)
	return onDesk(status), err
}

func onDesk(s broker.Status) api.Container {
	return api.Container{
		ID: s.ID, Name: s.Name, Image: s.Image, Gate: s.Gate, Since: s.Since, Files: s.Files, Variables: s.Variables,
		Strategy: s.Strategy, Owed: s.Owed, Late: s.Gate == inject.GateLate, Stale: s.Stale, Failing: s.Failing, Ungated: s.Ungated,
	}
}
