//go:build integration

package main

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/attach"
	"github.com/quaymaster/quaymaster/inject/memfs"
	"github.com/quaymaster/quaymaster/inject/runtime"
	real "github.com/quaymaster/quaymaster/test/engine"
)

// docker is a real engine that starts containers with the program, and a real
// gate that answers each of them with one delivery.
type docker struct {
	*real.Engine
	run      string // of the agent
	devices  string // where the engine looks for CDI files
	started  time.Time
	delivery atomic.Pointer[inject.Delivery]
	stop     func() // ends the gate
}

// recorder runs the program as the engine would, and keeps what it was called
// with: of an exec the working directory, the arguments and the process JSON,
// of a create the configuration.
const recorder = `#!/bin/sh
previous=
for a; do
	case $previous in
	--process) { pwd; printf '%s\n' "$@"; } > DIR/call; cp "$a" DIR/process ;;
	--bundle) cp "$a/config.json" DIR/config.json ;;
	esac
	previous=$a
done
exec BINARY "$@"
`

func newDocker(t *testing.T, options real.Options) *docker {
	t.Helper()
	dir := t.TempDir()
	d := &docker{run: dir + "/run", devices: dir + "/cdi", started: time.Now()}
	for ; dir != os.TempDir(); dir = filepath.Dir(dir) { // a remapped root must pass
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(d.run, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := memfs.Mount(d.run+"/memory", memfs.Options{AllowSwap: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := memfs.Unmount(d.run + "/memory"); err != nil {
			t.Error(err)
		}
	})
	script := d.records() + "/recorder"
	if err := os.Mkdir(d.records(), 0o700); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("DIR", d.records(), "BINARY", binary).Replace(recorder)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"--quaymaster-run", d.run, "--quaymaster-gate-timeout", "20s"}
	config := map[string]any{"runtimes": map[string]any{
		"quaymaster": map[string]any{"path": binary, "runtimeArgs": arguments},
		"recorded":   map[string]any{"path": script, "runtimeArgs": arguments},
	}}
	if options.Kind == real.Newest {
		config["cdi-spec-dirs"] = []string{d.devices}
	}
	maps.Copy(config, options.ExtraConfig)
	options.ExtraConfig = config
	d.Engine = real.ForTest(t, options)
	for _, load := range []func(context.Context) error{d.ImportBusybox, d.ImportProbe} {
		if err := load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d.open(t)
	return d
}

// open starts the gate; what it delivers with files, it mounts.
func (d *docker) open(t *testing.T) {
	t.Helper()
	listener, err := runtime.Listen(d.run + "/runtime.sock")
	if err != nil {
		t.Fatal(err)
	}
	answer := deliver(func(context.Context, inject.Arrival) (inject.Delivery, error) { return *d.delivery.Load(), nil })
	gate := runtime.New(runtime.Options{Listener: listener, Deliverer: answer, Attacher: attach.New(),
		Timeout: 20 * time.Second, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gate.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(d.stop)
}

func (d *docker) records() string { return filepath.Dir(d.run) + "/records" }

// bundle is where containerd keeps a container's bundle.
func (d *docker) bundle(id string) string {
	return d.ExecRoot() + "/containerd/io.containerd.runtime.v2.task/moby/" + id
}

// tree is a directory on the agent's memory filesystem with one file.
func (d *docker) tree(t *testing.T, value string) string {
	t.Helper()
	dir, err := os.MkdirTemp(d.run+"/memory", "tree")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/password", []byte(value), 0o444); err != nil {
		t.Fatal(err)
	}
	return dir
}
