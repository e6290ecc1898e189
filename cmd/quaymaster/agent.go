package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	"github.com/quaymaster/quaymaster/broker/memo"
	"github.com/quaymaster/quaymaster/broker/policy"
	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/inject/memfs"
	"github.com/quaymaster/quaymaster/inject/render"
	"github.com/quaymaster/quaymaster/inject/runtime"
)

func agentCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			loaded, warnings, err := config.Load(file)
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
	if err := settle(c); err != nil {
		return err
	}
	listener, err := runtime.Listen(runtimeSocket(c)) // first: it refuses a second agent, before that can touch a tree
	if err != nil {
		return err
	}
	defer listener.Close()
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
	engine, err := docker.New(docker.Options{Host: c.Docker.Host, State: c.Paths.State, Driver: "quaymaster", Log: log})
	if err != nil {
		return err
	}
	defer engine.Close()

	renderer, err := render.New(render.Options{Templates: c.Paths.Templates})
	if err != nil {
		return err
	}
	stores, err := openStores(ctx, c, log)
	if err != nil {
		return err
	}
	b := broker.New(broker.Options{
		Engine: engine, Trees: memory.trees, Memos: memory.memos, Providers: stores.providers, Rates: c.Rates(), CheckVersions: c.CheckVersions(),
		Moved:    stores.moved,
		Renderer: renderer, Policy: policy.New(grants(c)), Audit: records, Log: log,
		Refresh: c.Refresh, MaxStale: c.MaxStale, RequireGate: c.RequireGate,
		Now: time.Now, Jitter: rand.Float64,
	})
	gate := runtime.New(runtime.Options{
		Listener: listener, Deliverer: b, Timeout: c.GateTimeout, Log: log,
	})
	log.Info("agent runs", "version", version, "engine", c.Docker.Host, "grants", len(c.Grants), "gate", runtimeSocket(c))
	err = stores.whileLoggedIn(ctx, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return b.Run(ctx) })
		group.Go(func() error { return gate.Run(ctx) })
		group.Go(func() error { return reopenOnHangup(ctx, records, log) })
		return group.Wait()
	})
	log.Info("agent ends; running containers keep their secrets")
	return err
}

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

// memory is the agent's memory filesystem.
type memory struct {
	trees    *memfs.FS
	memos    *memo.Dir
	auditKey []byte
}

func (m memory) close() error { return errors.Join(m.trees.Close(), m.memos.Close()) }

// openMemory mounts the filesystem, or finds it as an earlier agent left it.
func openMemory(c config.Config) (memory, error) {
	root := memoryRoot(c)
	if err := memfs.Mount(root, memfs.Options{AllowSwap: c.AllowSwap}); err != nil {
		return memory{}, err
	}
	key, err := audit.Key(root)
	if err != nil {
		return memory{}, err
	}
	below := filepath.Join(root, "trees")
	if err := os.Mkdir(below, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return memory{}, fmt.Errorf("make the directory of the trees: %w", err)
	}
	trees, err := memfs.Open(below)
	if err != nil {
		return memory{}, err
	}
	memos, err := memo.Open(filepath.Join(root, "memos"))
	if err != nil {
		return memory{}, errors.Join(err, trees.Close())
	}
	return memory{trees: trees, memos: memos, auditKey: key}, nil
}

func memoryRoot(c config.Config) string { return filepath.Join(c.Paths.Run, "memory") }

func grants(c config.Config) []policy.Grant {
	var out []policy.Grant
	for _, g := range c.Grants {
		out = append(out, policy.Grant{Name: g.Name, Workloads: g.Workloads, Secrets: g.Secrets, Login: policy.Login(g.Vault)})
	}
	return out
}

func runtimeSocket(c config.Config) string { return filepath.Join(c.Paths.Run, "runtime.sock") }

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
