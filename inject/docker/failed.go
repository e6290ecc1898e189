package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// inspectPatience is how long an inspect is waited for: it waits itself while
// its container starts, and one that starts has not failed.
const inspectPatience = 500 * time.Millisecond

// inspectors is how many containers are inspected at a time.
const inspectors = 4

// labelTask marks a container that runs a task of a swarm.
const labelTask = "com.docker.swarm.task.id"

// ours is how what the agent has refused can be told, whatever the engine
// says around it.
const ours = "quaymaster"

// Failed returns the containers that do not run because their last start
// failed, and that the agent may have to do with: they have its labels, mount
// its volumes, or say so. The oldest is first. The tasks of a swarm are left
// out: in place of one that failed the swarm starts another. Containers that
// are just starting are left out as well.
//
// Call it beside the way of any start: it inspects containers.
func (e *Engine) Failed(ctx context.Context) ([]inject.Failure, error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("status", container.StateCreated), filters.Arg("status", container.StateExited))})
	if err != nil {
		return nil, fmt.Errorf("list the containers that do not run: %w", err)
	}
	list = slices.DeleteFunc(list, func(s container.Summary) bool { return !mayHaveFailed(s) })
	slices.Reverse(list) // the engine lists the newest first
	failures := make([]*inject.Failure, len(list))
	var all sync.WaitGroup
	free := make(chan struct{}, inspectors)
	for i, summary := range list {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			failures[i] = e.failure(ctx, describe(summary).Facts)
		})
	}
	all.Wait()
	var failed []inject.Failure
	for _, f := range failures {
		if f != nil {
			failed = append(failed, *f)
		}
	}
	return failed, ctx.Err()
}

// mayHaveFailed saves an inspect of each container that did its work and
// ended: a start that fails never leaves exit code 0 (moby daemon/start.go).
func mayHaveFailed(s container.Summary) bool {
	return s.Labels[labelTask] == "" && !strings.HasPrefix(s.Status, "Exited (0)")
}

// failure is nil unless the container's last start failed.
func (e *Engine) failure(ctx context.Context, facts workload.Facts) *inject.Failure {
	ctx, cancel := context.WithTimeout(ctx, inspectPatience)
	defer cancel()
	c, err := e.api.ContainerInspect(ctx, facts.ID)
	if err != nil {
		e.log.Debug("a container that does not run is starting, or gone", "container", facts.ID, "error", err)
		return nil
	}
	if c.ContainerJSONBase == nil || c.State == nil || c.State.Running || c.State.Error == "" {
		return nil
	}
	if !workload.Labelled(facts.Labels) && !mounts(facts, e.options.Driver) && !strings.Contains(c.State.Error, ours) {
		return nil
	}
	return &inject.Failure{
		Container: c.ID, Name: strings.TrimPrefix(c.Name, "/"), Reason: c.State.Error,
		Restarts: c.HostConfig != nil && !c.HostConfig.RestartPolicy.IsNone(),
	}
}
