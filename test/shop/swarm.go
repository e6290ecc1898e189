package shop

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// SwarmGrants are the policy for services: db may have what is below shop on any
// node, pinned on the node "harbour" alone, other what is other's.
const SwarmGrants = `
grants:
  - {name: db, workloads: {swarm.service: db}, secrets: ["vault:kv/shop/**"]}
  - {name: pinned, workloads: {swarm.service: pinned, swarm.node: harbour}, secrets: ["vault:kv/shop/**"]}
  - {name: other, workloads: {swarm.service: other}, secrets: ["vault:kv/other/**"]}
`

// Swarm is a swarm that a host's engine manages, and the agent's secret driver
// on it.
type Swarm struct {
	driver string
	// Nodes are its engines. The first is the manager.
	Nodes   []*engine.Engine
	manager *client.Client
}

// InitSwarm makes the host's engine the only node of a swarm.
func InitSwarm(ctx context.Context, h *host.Host) (*Swarm, error) {
	_, err := h.Engine.Client().SwarmInit(ctx, swarm.InitRequest{ListenAddr: "127.0.0.1:2377", AdvertiseAddr: "127.0.0.1"})
	if err != nil {
		return nil, fmt.Errorf("make a swarm: %w", err)
	}
	return OnSwarm(h, h.Engine), nil
}

// OnSwarm is a swarm that there is already, which the host's engine manages.
func OnSwarm(h *host.Host, nodes ...*engine.Engine) *Swarm {
	return &Swarm{driver: h.Plugin(), Nodes: nodes, manager: h.Engine.Client()}
}

// KeepHistory has the swarm keep all tasks that have ended, and their containers.
func (s *Swarm) KeepHistory(ctx context.Context) error {
	now, err := s.manager.SwarmInspect(ctx)
	if err != nil {
		return err
	}
	limit := int64(1_000_000)
	now.Spec.Orchestration.TaskHistoryRetentionLimit = &limit
	return s.manager.SwarmUpdate(ctx, now.Version, now.Spec, swarm.UpdateFlags{})
}

// Secret makes a secret whose value the agent gives. More labels follow the
// ref, as key, value.
func (s *Swarm) Secret(ctx context.Context, name, ref string, more ...string) (*swarm.SecretReference, error) {
	labels := map[string]string{"quaymaster.ref": ref}
	for i := 0; i < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	made, err := s.manager.SecretCreate(ctx, swarm.SecretSpec{
		Annotations: swarm.Annotations{Name: name, Labels: labels}, Driver: &swarm.Driver{Name: s.driver}})
	if err != nil {
		return nil, fmt.Errorf("make secret %s of the swarm: %w", name, err)
	}
	return &swarm.SecretReference{SecretID: made.ID, SecretName: name,
		File: &swarm.SecretReferenceFileTarget{Name: name, UID: "0", GID: "0", Mode: 0o400}}, nil
}

// Service is a service of so many probes, which report their secrets and stay.
func Service(name string, replicas uint64, secrets ...*swarm.SecretReference) swarm.ServiceSpec {
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: name, Labels: map[string]string{}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{
			Image: engine.ProbeImage, Command: []string{"/probe"}, Args: []string{"/run/secrets", "hold"}, Secrets: secrets}},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
}

// Serve creates a service.
func (s *Swarm) Serve(ctx context.Context, spec swarm.ServiceSpec) (id string, err error) {
	made, err := s.manager.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make service %s: %w", spec.Name, err)
	}
	return made.ID, nil
}

// Service returns a service as it is now.
func (s *Swarm) Service(ctx context.Context, id string) (swarm.Service, error) {
	service, _, err := s.manager.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
	return service, err
}

// Change updates a service; what others change meanwhile goes first.
func (s *Swarm) Change(ctx context.Context, id string, change func(*swarm.ServiceSpec)) error {
	for {
		service, err := s.Service(ctx, id)
		if err != nil {
			return err
		}
		change(&service.Spec)
		_, err = s.manager.ServiceUpdate(ctx, id, service.Version, service.Spec, swarm.ServiceUpdateOptions{})
		if err == nil || !strings.Contains(err.Error(), "out of sequence") {
			return err
		}
	}
}

// Tasks returns all tasks of a service that there are or were.
func (s *Swarm) Tasks(ctx context.Context, id string) ([]swarm.Task, error) {
	return s.manager.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", id))})
}

// Running returns the tasks of a service that run and are to.
func (s *Swarm) Running(ctx context.Context, id string) (running []swarm.Task, err error) {
	tasks, err := s.Tasks(ctx, id)
	for _, task := range tasks {
		if task.Status.State == swarm.TaskStateRunning && task.DesiredState == swarm.TaskStateRunning {
			running = append(running, task)
		}
	}
	return running, err
}

// node is the engine that a task was given to.
func (s *Swarm) node(ctx context.Context, task swarm.Task) (*engine.Engine, error) {
	for _, node := range s.Nodes {
		info, err := node.Client().Info(ctx)
		if err != nil {
			return nil, err
		}
		if info.Swarm.NodeID == task.NodeID {
			return node, nil
		}
	}
	return nil, fmt.Errorf("task %s is on node %q, which is none of ours", task.ID, task.NodeID)
}

// errSilent says that a container was started and has not reported.
var errSilent = errors.New("it has not reported")

// Saw says what is wrong with what the first instruction of a task saw: each
// of the files that are named must hold one of its values.
func (s *Swarm) Saw(ctx context.Context, task swarm.Task, files map[string][]string) error {
	if task.Status.ContainerStatus == nil || task.Status.ContainerStatus.ContainerID == "" {
		return fmt.Errorf("task %s has no container", task.ID)
	}
	node, err := s.node(ctx, task)
	if err != nil {
		return err
	}
	return SawFiles(ctx, node, task.Status.ContainerStatus.ContainerID, files)
}

// SawFiles is Saw for a container on one engine.
func SawFiles(ctx context.Context, node *engine.Engine, container string, files map[string][]string) error {
	reports, err := node.Reports(ctx, container)
	if err != nil || len(reports) == 0 {
		return errors.Join(fmt.Errorf("container %.12s: %w", container, errSilent), err)
	}
	for name, values := range files {
		file, right := reports[0].Files[name], false
		for _, value := range values {
			right = right || file.Fingerprint == engine.Fingerprint([]byte(value))
		}
		if !right || file.Mode != 0o400 {
			return fmt.Errorf("container %.12s: file %s is %+v", container, name, file)
		}
	}
	return nil
}
