// Package docker speaks with Docker: it tells what a container is, watches
// containers come and go, and starts, stops, signals or restarts one; where the
// host is a manager of a swarm, it tells of tasks and renews services.
//
// The rule that shapes it: a gate holds the engine while it asks, so nothing
// on the way of a start may wait for the engine. What a container is, is
// learnt from the event of its creation, well before its start; else from one
// short listing (never from a container inspect, which waits for the very
// start that is being held); else from the engine's own files. An engine that
// restores containers at its own start calls the gates and answers nobody, so
// what its files do not say then (which labels an image brings along, where
// its data root is) is kept from when it did answer, in a file of this
// package's own.
package docker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// apiPatience is how long a start may wait for the engine's API. The API
// answers in a few milliseconds or, while the engine restores containers at
// its own start, not at all.
const apiPatience = 300 * time.Millisecond

// stopPatience is the time, in seconds, that a container that must not run is
// given to end by itself.
const stopPatience = 2

// Options of an Engine.
type Options struct {
	Host string // of its API, as in unix:///var/run/docker.sock
	// State is a directory for what must be known while the engine does not
	// answer. It belongs to the agent alone. Empty: nothing is kept.
	State string
	// DataRoot is the engine's data root as the agent sees it; empty: what the
	// engine says.
	DataRoot string
	Driver   string // the name of the agent's own volume driver
	Log      *slog.Logger
}

// Engine is one Docker engine. It may be used by several goroutines.
type Engine struct {
	api     *client.Client
	options Options
	log     *slog.Logger
	store   store
	keeping sync.Mutex // held while the store is written

	mu         sync.Mutex
	about      about                        // what the engine last said of itself
	containers map[string]workload.Facts    // by ID; complete with image labels, without the sources of volumes
	images     map[string]map[string]string // labels by imageRef.key, which names content and so never goes stale
	nodes      map[string]string            // host names of the swarm's nodes, by ID
	unkept     bool                         // about or images differ from what is in the store
}

// New returns an engine. It makes no request: the engine may come up later. It
// reads what an earlier agent kept of it.
func New(o Options) (*Engine, error) {
	api, err := client.NewClientWithOpts(client.WithHost(o.Host), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("docker.host %q: %w", o.Host, err)
	}
	e := &Engine{
		api: api, options: o, log: o.Log, store: store{dir: o.State},
		containers: map[string]workload.Facts{}, images: map[string]map[string]string{}, nodes: map[string]string{},
	}
	if err := e.recall(); err != nil {
		e.log.Warn("what was known of the docker engine is not any more; it is learnt again when the engine answers", "error", err)
	}
	return e, nil
}

// Close ends idle connections.
func (e *Engine) Close() error { return e.api.Close() }

// Running returns the facts of all containers that run now, and for volumes of
// the agent's own driver what they were mounted as for this run. Where it cannot
// be told which labels come from the image, all of them count as the image's:
// then nothing is granted by them.
func (e *Engine) Running(ctx context.Context) ([]workload.Facts, error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list running containers: %w", err)
	}
	running := make([]workload.Facts, 0, len(list))
	for _, summary := range list {
		facts, err := e.complete(ctx, describe(summary))
		if err != nil {
			e.log.Debug("image labels are not known", "container", facts.ID, "error", err)
			facts = untrusted(facts)
		}
		running = append(running, e.located(facts))
	}
	return running, nil
}

// Start starts a container, and returns when the engine has let it through all
// gates. Starting one that runs is no error.
func (e *Engine) Start(ctx context.Context, id string) error {
	if err := e.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	return nil
}

// Stop ends a container: by its stop signal first, by force two seconds later.
func (e *Engine) Stop(ctx context.Context, id string) error {
	seconds := stopPatience
	if err := e.api.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds}); err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return nil
}

// Signal sends a signal, named without SIG, to the container's first process.
func (e *Engine) Signal(ctx context.Context, id, signal string) error {
	if err := e.api.ContainerKill(ctx, id, "SIG"+signal); err != nil {
		return fmt.Errorf("send SIG%s to container %s: %w", signal, id, err)
	}
	return nil
}

// Restart stops the container and starts it again. How long the engine waits for the
// container to stop is what the container was created with.
func (e *Engine) Restart(ctx context.Context, id string) error {
	if err := e.api.ContainerRestart(ctx, id, container.StopOptions{}); err != nil {
		return fmt.Errorf("restart container %s: %w", id, err)
	}
	return nil
}

// Runtimes returns the names of the OCI runtimes that the engine knows, and
// which of them is the default.
func (e *Engine) Runtimes(ctx context.Context) (names map[string]string, standard string, err error) {
	setup, err := e.Setup(ctx)
	return setup.Runtimes, setup.DefaultRuntime, err
}

// CreatedWith returns the names of all containers, running or not, that were
// created with the OCI runtime called runtime. Docker keeps that for their
// life, and starts none of them when it does not know the runtime.
func (e *Engine) CreatedWith(ctx context.Context, runtime string) (names []string, err error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, summary := range list {
		inspected, err := e.api.ContainerInspect(ctx, summary.ID)
		if errdefs.IsNotFound(err) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the runtime of container %s: %w", summary.ID, err)
		}
		if inspected.HostConfig != nil && inspected.HostConfig.Runtime == runtime {
			names = append(names, strings.TrimPrefix(inspected.Name, "/"))
		}
	}
	slices.Sort(names)
	return names, nil
}
