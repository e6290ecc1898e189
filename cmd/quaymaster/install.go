package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/inject/daemonjson"
	"github.com/quaymaster/quaymaster/inject/docker"
)

// runtimeName is what the runtime gate is called in daemon.json, and so what
// docker run --runtime and Compose's runtime: say.
const runtimeName = "quaymaster"

// reloadPatience is how long the engine may take to know its new runtimes. It
// reads the file within milliseconds of the signal.
const reloadPatience = 5 * time.Second

// listPatience is how long the engine may take to tell of all its containers.
const listPatience = 10 * time.Second

// installation is what install docker-runtime was told.
type installation struct {
	configFile, daemonFile, pidFile string
	program, runc                   string
	standard, dryRun, undo          bool
}

func installRuntimeCommand() *cobra.Command {
	var i installation
	c := &cobra.Command{
		Use:   "docker-runtime",
		Short: "Enter the runtime gate into Docker's daemon.json; the engine takes it up without a restart",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := i.settings(c.Flags().Changed("config"))
			if err != nil {
				return err
			}
			return i.run(c.Context(), settings)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&i.standard, "default", false, "make it the runtime of containers that name none")
	flags.BoolVar(&i.dryRun, "dry-run", false, "show the change and change nothing")
	flags.BoolVar(&i.undo, "undo", false, "take out what an installation entered")
	flags.StringVar(&i.configFile, "config", defaultConfig, "configuration `file` of the agent, for paths.run, gate_timeout and docker.host")
	flags.StringVar(&i.daemonFile, "daemon-config", "/etc/docker/daemon.json", "the engine's configuration `file`")
	flags.StringVar(&i.pidFile, "pid-file", "/var/run/docker.pid", "`file` with the engine's process ID")
	flags.StringVar(&i.program, "runtime-path", "", "quaymaster-runtime's `path` (default: beside this program)")
	flags.StringVar(&i.runc, "runc", "", "`path` of the engine's own runtime (default: runc on the engine's PATH)")
	c.MarkFlagsMutuallyExclusive("undo", "default")
	return c
}

// settings reads the agent's configuration. Unless a file was named, the gate
// may be installed before the host is configured, and taken out whatever the
// configuration has come to.
func (i *installation) settings(named bool) (config.Config, error) {
	if _, err := os.Stat(i.configFile); !named && errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	settings, _, err := loadConfig(i.configFile)
	switch {
	case err == nil || named:
		return settings, err
	case errors.Is(err, config.ErrEmpty):
		return config.Default(), nil
	case i.undo:
		fmt.Fprintf(os.Stderr, "the configuration is not read, and the engine is taken to be at %s: %v\n", config.Default().Docker.Host, err)
		return config.Default(), nil
	}
	return settings, err
}

func (i *installation) run(ctx context.Context, settings config.Config) error {
	change, err := i.change(settings)
	if err != nil {
		return err
	}
	file, err := daemonjson.Read(i.daemonFile)
	if err != nil {
		return err
	}
	plan, err := i.plan(file, change)
	if err != nil {
		return err
	}
	if !plan.Changes() {
		fmt.Printf("%s: nothing to change\n", file.Path())
		return nil
	}
	fmt.Print(plan.Diff())
	if i.undo {
		i.warnOfContainers(ctx, settings)
	}
	if i.dryRun {
		return nil
	}
	if !i.undo {
		if err := daemonjson.CheckFlags(i.pidFile, change); err != nil {
			return err
		}
		if err := plan.Apply(); err != nil {
			return err
		}
		return i.reload(ctx, settings)
	}
	if err := plan.Farewell(); err != nil {
		return err
	}
	return errors.Join(i.reload(ctx, settings), plan.Apply())
}

func (i *installation) plan(file *daemonjson.File, change daemonjson.Change) (*daemonjson.Plan, error) {
	if i.undo {
		return file.Undo(change)
	}
	return file.Install(change)
}

// change is what belongs into daemon.json. Arguments are entered only where a
// setting is not the default that the program knows by itself: older engines
// start a runtime with arguments through a shell, which takes time.
func (i *installation) change(settings config.Config) (daemonjson.Change, error) {
	program, err := i.runtimePath()
	if err != nil {
		return daemonjson.Change{}, err
	}
	change := daemonjson.Change{Name: runtimeName, Path: program, Default: i.standard}
	standard := config.Default()
	if settings.Paths.Run != standard.Paths.Run {
		change.Args = append(change.Args, "--quaymaster-run", settings.Paths.Run)
	}
	if settings.GateTimeout != standard.GateTimeout {
		change.Args = append(change.Args, "--quaymaster-gate-timeout", settings.GateTimeout.String())
	}
	if i.runc != "" {
		change.Args = append(change.Args, "--quaymaster-runc", i.runc)
	}
	return change, nil
}

func (i *installation) runtimePath() (string, error) {
	program := i.program
	if program == "" {
		var err error
		if program, err = besideSelf("quaymaster-runtime"); err != nil {
			return "", err
		}
	}
	info, err := os.Stat(program)
	switch {
	case i.undo: // it may be gone already
	case err != nil:
		return "", fmt.Errorf("the runtime to install: %w; name it with --runtime-path", err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return "", fmt.Errorf("the runtime to install, %s, is not an executable file", program)
	}
	return filepath.Abs(program)
}

// besideSelf is the path of another of the programs that are installed together.
func besideSelf(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return filepath.Join(filepath.Dir(self), name), nil
}

// reload lets the engine read its file, and checks that it did.
func (i *installation) reload(ctx context.Context, settings config.Config) error {
	err := daemonjson.Reload(i.pidFile)
	if errors.Is(err, daemonjson.ErrNotRunning) {
		fmt.Fprintf(os.Stderr, "%v: the change takes effect when it starts\n", err)
		return nil
	}
	if err != nil {
		return err
	}
	engine, err := docker.New(docker.Options{Host: settings.Docker.Host, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer engine.Close()
	ctx, cancel := context.WithTimeout(ctx, reloadPatience)
	defer cancel()
	if err := i.awaitRuntime(ctx, engine); err != nil {
		return fmt.Errorf("the file is changed, but the engine at %s has not taken it up: %w; see the engine's log", settings.Docker.Host, err)
	}
	if i.undo {
		fmt.Fprintf(os.Stderr, "the engine no longer knows the runtime %s\n", runtimeName)
		return nil
	}
	fmt.Fprintf(os.Stderr, "the engine knows the runtime %s; containers that are created with it pass the gate\n", runtimeName)
	return nil
}

// warnOfContainers says which containers the engine will not start any more.
// Without an engine that answers there is nothing to say.
func (i *installation) warnOfContainers(ctx context.Context, settings config.Config) {
	engine, err := docker.New(docker.Options{Host: settings.Docker.Host, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return // the change is not made with this host either
	}
	defer engine.Close()
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	names, err := engine.CreatedWith(ctx, runtimeName)
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "which containers were created with the runtime %s is not known: %v\n", runtimeName, err)
	case len(names) > 0:
		fmt.Fprintf(os.Stderr, "these containers were created with the runtime %s, and without it do not start again until they are created anew: %s\n",
			runtimeName, strings.Join(names, ", "))
	}
}

// awaitRuntime asks the engine until it knows the runtime, or after undo until
// it does not.
func (i *installation) awaitRuntime(ctx context.Context, engine *docker.Engine) error {
	for {
		names, standard, err := engine.Runtimes(ctx)
		_, known := names[runtimeName]
		if err == nil && known != i.undo && (!i.standard || standard == runtimeName) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
