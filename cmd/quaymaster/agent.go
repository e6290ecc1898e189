package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject/attach"
	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/inject/render"
)

func agentCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			loaded, warnings, err := loadConfig(file)
			if err != nil {
				return err
			}
			log := newLogger(loaded.Log)
			for _, warning := range warnings {
				log.Warn("configuration", "problem", warning.String())
			}
			return runAgent(c.Context(), loaded, log)
		},
	}
	c.Flags().StringVar(&file, "config", defaultConfig, "configuration `file`")
	return c
}

// runAgent builds everything and runs it until ctx ends. Trees outlive the
// agent: running containers keep what they have.
func runAgent(ctx context.Context, c config.Config, log *slog.Logger) error {
	host := newSupervisor(log) // first: it knows which file descriptors were handed over
	if err := settle(c); err != nil {
		return err
	}
	doors, err := openDoors(c, host) // before the trees: it refuses a second agent
	host.close()
	if err != nil {
		return err
	}
	defer doors.close()
	memory, err := openMemory(c)
	if err != nil {
		return err
	}
	defer memory.close()
	records, err := audit.Open(c.Audit.File, memory.auditKey, time.Now)
	if err != nil {
		return err
	}
	defer records.Close()
	engine, err := docker.New(docker.Options{
		Host: c.Docker.Host, State: filepath.Join(c.Paths.State, "engine"), DataRoot: c.Docker.DataRoot, Driver: c.Docker.Plugin, Log: log,
	})
	if err != nil {
		return err
	}
	defer engine.Close()
	stores, err := openStores(ctx, c, log)
	if err != nil {
		return err
	}
	b, err := newBroker(ctx, c, parts{engine: engine, memory: memory, records: records, stores: stores, host: host, log: log})
	if err != nil {
		return err
	}
	gates, err := openGates(c, doors, b, engine, memory, log)
	if err != nil {
		return err
	}
	defer gates.close()
	log.Info("agent runs", "version", version, "engine", c.Docker.Host, "grants", len(c.Grants), "gate", runtimeSocket(c))
	host.ready(fmt.Sprintf("%d grants; engine %s", len(c.Grants), c.Docker.Host))
	err = stores.whileLoggedIn(ctx, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return b.Run(ctx) })
		gates.run(ctx, group)
		group.Go(func() error { return reopenOnHangup(ctx, records, log) })
		group.Go(func() error { return host.watch(ctx, func(context.Context) { b.Containers() }) })
		return group.Wait()
	})
	host.stopping()
	handOn(c, host, b, log)
	log.Info("agent ends; running containers keep their secrets")
	return err
}

// parts are what a broker is made of that is open already.
type parts struct {
	engine  *docker.Engine
	memory  memory
	records *audit.Log
	stores  *stores
	host    *supervisor
	log     *slog.Logger
}

func newBroker(ctx context.Context, c config.Config, p parts) (*broker.Broker, error) {
	renderer, err := render.New(render.Options{Templates: c.Paths.Templates})
	if err != nil {
		return nil, err
	}
	cache, err := openBootCache(ctx, c, p.log)
	if err != nil {
		return nil, err
	}
	attacher := attach.New()
	b := broker.New(broker.Options{
		Engine: p.engine, Trees: p.memory.trees, Memos: p.memory.memos,
		Providers: p.stores.providers, Rates: c.Rates(), CheckVersions: c.CheckVersions(), Moved: p.stores.moved,
		Renderer: renderer, Profiles: workload.Profiles(c.ProfileLabels()), Policy: policy.New(grants(c)), Audit: p.records, Log: p.log,
		Refresh: c.Refresh, MaxStale: c.MaxStale, RequireGate: c.RequireGate, ExecVariables: c.ExecVariables,
		LateAttach: c.LateAttach, Attacher: attacher, Looker: attacher, StartFailed: c.StartFailed, Driver: c.Docker.Plugin,
		HandedOn: takeOver(p.host, p.log), BootCache: cache,
		Now: time.Now, Jitter: rand.Float64,
	})
	loading, cancel := context.WithTimeout(ctx, cachePatience)
	defer cancel()
	b.LoadCache(loading)
	return b, nil
}

// cachePatience is how long the agent's start waits for the boot cache. Docker's
// own start waits for the agent's.
const cachePatience = 5 * time.Second

// settle makes the process, and the directory that it runs in, what the rest
// relies on.
func settle(c config.Config) error {
	if err := undumpable(); err != nil {
		return err
	}
	unix.Umask(0o022) // a container in a user namespace must pass through to its tree
	if err := os.MkdirAll(c.Paths.Run, 0o711); err != nil {
		return fmt.Errorf("paths.run: %w", err)
	}
	return nil
}

// undumpable keeps what the agent holds out of core dumps, and other processes
// of the same user from reading its memory.
func undumpable() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("set the core dump limit to zero: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	return nil
}

func grants(c config.Config) []policy.Grant {
	var out []policy.Grant
	for _, g := range c.Grants {
		out = append(out, policy.Grant{Name: g.Name, Workloads: g.Workloads, Secrets: g.Secrets, Login: policy.Login(g.Vault), BootCache: g.BootCache})
	}
	return out
}

// reopenOnHangup lets log rotation move the audit file away.
func reopenOnHangup(ctx context.Context, records *audit.Log, log *slog.Logger) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			if err := records.Reopen(); err != nil {
				log.Error("the audit file could not be opened again", "error", err)
			}
		}
	}
}

func newLogger(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		panic("config accepted log level " + c.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
