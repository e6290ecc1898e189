package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
)

// ErrNotManager says that the host is no manager of a swarm, so that it cannot
// tell of, or change, anything in one.
var ErrNotManager = errors.New("this host is no manager of a swarm")

// Node returns the host name of a node of the swarm. It is asked for once,
// until the engine restarts.
func (e *Engine) Node(ctx context.Context, nodeID string) (hostname string, err error) {
	e.mu.Lock()
	hostname, known := e.nodes[nodeID]
	e.mu.Unlock()
	if known {
		return hostname, nil
	}
	node, _, err := e.api.NodeInspectWithRaw(ctx, nodeID)
	if err != nil {
		return "", fmt.Errorf("inspect node %s of the swarm: %w", nodeID, ofSwarm(err))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes[nodeID] = node.Description.Hostname
	return node.Description.Hostname, nil
}

// Tasks returns the IDs of the tasks of the whole swarm that are to run, or
// have not ended. What was made for any other can go.
func (e *Engine) Tasks(ctx context.Context) (map[string]bool, error) {
	list, err := e.api.TaskList(ctx, swarm.TaskListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the tasks of the swarm: %w", ofSwarm(err))
	}
	tasks := map[string]bool{}
	for _, task := range list {
		if task.DesiredState == swarm.TaskStateRunning || !ended(task.Status.State) {
			tasks[task.ID] = true
		}
	}
	return tasks, nil
}

// ended reports whether a task in this state never runs again: states only
// move forward (moby/swarmkit api/types.proto, TaskState).
func ended(state swarm.TaskState) bool {
	switch state {
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected,
		swarm.TaskStateRemove, swarm.TaskStateOrphaned:
		return true
	}
	return false
}

// ServiceState returns how the last update of a service went: updating,
// completed, paused, rollback_started, rollback_paused or rollback_completed;
// empty when there was none, it has not begun, or the service is gone. The
// message is the swarm's.
func (e *Engine) ServiceState(ctx context.Context, serviceID string) (state, message string, err error) {
	service, _, err := e.api.ServiceInspectWithRaw(ctx, serviceID, swarm.ServiceInspectOptions{})
	if errdefs.IsNotFound(err) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("inspect service %s: %w", serviceID, ofSwarm(err))
	}
	if service.UpdateStatus == nil {
		return "", "", nil
	}
	return string(service.UpdateStatus.State), service.UpdateStatus.Message, nil
}

// ofSwarm makes the engine's answer of a host that manages no swarm
// ErrNotManager. The engine has no code of its own for it.
func ofSwarm(err error) error {
	if errdefs.IsUnavailable(err) && strings.Contains(err.Error(), "not a swarm manager") {
		return fmt.Errorf("%w: %w", ErrNotManager, err)
	}
	return err
}
