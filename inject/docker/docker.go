// Package docker speaks with Docker: it tells what a container is, watches
// containers come and go, and stops, signals or restarts one.
//
// The rule that shapes it: a gate holds the engine while it asks, so nothing
// on the way of a start may wait for the engine. What a container is, is
// learnt from the event of its creation, well before its start; else from one
// short listing (never from a container inspect, which waits for the very
// start that is being held); else from the engine's own files.
package docker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
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

// Engine is one Docker engine. It may be used by several goroutines.
type Engine struct {
	api *client.Client
	log *slog.Logger

	mu         sync.Mutex
	containers map[string]workload.Facts    // by ID; complete with image labels
	images     map[string]map[string]string // labels by image ID, which names content and so never goes stale
}

// New returns the engine at host, as in unix:///var/run/docker.sock. It makes
// no request: the engine may come up later.
func New(host string, log *slog.Logger) (*Engine, error) {
	api, err := client.NewClientWithOpts(client.WithHost(host), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("docker.host %q: %w", host, err)
	}
	return &Engine{
		api: api, log: log,
		containers: map[string]workload.Facts{}, images: map[string]map[string]string{},
	}, nil
}

// Close ends idle connections.
func (e *Engine) Close() error { return e.api.Close() }

// Running returns the facts of all containers that run now. Where it cannot be
// told which labels come from the image, all of them count as the image's: then
// nothing is granted by them.
func (e *Engine) Running(ctx context.Context) ([]workload.Facts, error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list running containers: %w", err)
	}
	running := make([]workload.Facts, 0, len(list))
	for _, summary := range list {
		facts := summaryFacts(summary)
		if complete, err := e.complete(ctx, facts); err == nil {
			facts = complete
		} else {
			e.log.Debug("image labels are not known", "container", facts.ID, "error", err)
			facts.ImageLabels = maps.Clone(facts.Labels)
		}
		running = append(running, facts)
	}
	return running, nil
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
	info, err := e.api.Info(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("ask the engine for its runtimes: %w", err)
	}
	names = map[string]string{}
	for name, runtime := range info.Runtimes {
		names[name] = runtime.Path
	}
	return names, info.DefaultRuntime, nil
}

// list asks for one container without waiting for anything that happens to it.
func (e *Engine) list(ctx context.Context, id string) (workload.Facts, bool, error) {
	found, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("id", id))})
	if err != nil {
		return workload.Facts{}, false, fmt.Errorf("list container %s: %w", id, err)
	}
	for _, summary := range found { // the filter takes prefixes too
		if summary.ID == id {
			return summaryFacts(summary), true, nil
		}
	}
	return workload.Facts{}, false, nil
}

func summaryFacts(s container.Summary) workload.Facts {
	facts := workload.Facts{ID: s.ID, Image: s.Image, ImageID: s.ImageID, Labels: s.Labels}
	for _, name := range s.Names { // a legacy link adds names of the form /other/alias
		if plain := strings.TrimPrefix(name, "/"); !strings.Contains(plain, "/") {
			facts.Name = plain
		}
	}
	return facts
}
