package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/inject"
)

// Process describes a container that runs, by its first process, for a tree
// that is mounted late; name is its name, its ID, or the beginning of that.
// Gate is left to the caller. The error says so if the container does not run,
// or ended meanwhile.
func (e *Engine) Process(ctx context.Context, name string) (inject.Arrival, error) {
	before, err := e.runs(ctx, name)
	if err != nil {
		return inject.Arrival{}, err
	}
	arrival, err := readProcess(before.State.Pid, before.ID)
	if err != nil {
		return inject.Arrival{}, fmt.Errorf("look at the first process of container %s: %w", before.ID, err)
	}
	// While the container runs on, its process ID is nobody else's.
	after, err := e.runs(ctx, before.ID)
	if err != nil {
		return inject.Arrival{}, err
	}
	if after.State.Pid != before.State.Pid || after.State.StartedAt != before.State.StartedAt {
		return inject.Arrival{}, fmt.Errorf("container %s was restarted meanwhile: try again", before.ID)
	}
	if dir := e.place().engineDir(before.ID); isDir(dir) {
		arrival.EngineDir = dir
	}
	return arrival, nil
}

// runs inspects a container that must run.
func (e *Engine) runs(ctx context.Context, name string) (container.InspectResponse, error) {
	c, err := e.api.ContainerInspect(ctx, name)
	if err != nil {
		return c, fmt.Errorf("inspect container %s: %w", name, err)
	}
	if c.ContainerJSONBase == nil || c.State == nil || !c.State.Running || c.State.Pid <= 0 {
		return c, fmt.Errorf("container %s does not run", name)
	}
	return c, nil
}
