//go:build integration

package docker_test

import (
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/test/engine"
)

// TestSwarm speaks with a swarm of one node: of its node, of its tasks, and of
// the rolling update of a service in which nothing else changes.
func TestSwarm(t *testing.T) {
	e := withProbe(t, engine.Options{})
	d := open(t, e)
	if _, err := d.Tasks(t.Context()); !errors.Is(err, docker.ErrNotManager) {
		t.Errorf("the tasks of no swarm: %v", err)
	}
	if err := d.UpdateService(t.Context(), "web"); !errors.Is(err, docker.ErrNotManager) {
		t.Errorf("the update of a service of no swarm: %v", err)
	}
	if _, err := e.Client().SwarmInit(t.Context(), swarm.InitRequest{ListenAddr: "127.0.0.1:2377", AdvertiseAddr: "127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	info, err := e.Client().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is not asked for
		if name, err := d.Node(t.Context(), info.Swarm.NodeID); err != nil || name != info.Name {
			t.Errorf("node %q, %v, want %q", name, err, info.Name)
		}
	}
	id := serve(t, e)
	first := twoTasks(t, d, nil)
	if state, message, err := d.ServiceState(t.Context(), id); err != nil || state != "" || message != "" {
		t.Errorf("before any update: %q, %q, %v", state, message, err)
	}
	rollOut(t, e, d, id)
	twoTasks(t, d, first)
	eventually(t, "the update is complete", func() bool {
		state, _, err := d.ServiceState(t.Context(), id)
		return err == nil && state == string(swarm.UpdateStateCompleted)
	})
	tell(t, e, d, id)
	if err := e.Client().ServiceRemove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := d.UpdateService(t.Context(), id); !errors.Is(err, inject.ErrGone) {
		t.Errorf("the update of a service that is gone: %v", err)
	}
	if err := d.TellService(t.Context(), id, "x"); err != nil {
		t.Errorf("a service that is gone is labelled: %v", err)
	}
	if state, _, err := d.ServiceState(t.Context(), id); err != nil || state != "" {
		t.Errorf("the state of a service that is gone: %q, %v", state, err)
	}
	eventually(t, "the tasks of a removed service end", func() bool {
		tasks, err := d.Tasks(t.Context())
		return err == nil && len(tasks) == 0
	})
}

// serve makes a service of two tasks that run.
func serve(t *testing.T, e *engine.Engine) (id string) {
	t.Helper()
	two := uint64(2)
	made, err := e.Client().ServiceCreate(t.Context(), swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "web", Labels: map[string]string{"a": "b"}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{
			Image: engine.ProbeImage, Command: []string{"/probe"}, Args: []string{"/", "hold"}, StopSignal: "SIGKILL"}},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &two}},
	}, swarm.ServiceCreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// tell has a service say something and take it back: no task is replaced, and
// nothing else changes.
func tell(t *testing.T, e *engine.Engine, d *docker.Engine, id string) {
	t.Helper()
	before, _, err := e.Client().ServiceInspectWithRaw(t.Context(), id, swarm.ServiceInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tasks := twoTasks(t, d, nil)
	for _, text := range []string{"no \"grant\"", "no \"grant\"", ""} {
		if err := d.TellService(t.Context(), id, text); err != nil {
			t.Error(err)
		}
		after, _, err := e.Client().ServiceInspectWithRaw(t.Context(), id, swarm.ServiceInspectOptions{})
		if err != nil || after.Spec.Labels[inject.LabelServiceError] != text {
			t.Errorf("labels %v, %v", after.Spec.Labels, err)
		}
		delete(after.Spec.Labels, inject.LabelServiceError)
		if !reflect.DeepEqual(after.Spec, before.Spec) {
			t.Errorf("the spec is %+v, want %+v", after.Spec, before.Spec)
		}
	}
	if now := twoTasks(t, d, nil); !reflect.DeepEqual(now, tasks) {
		t.Errorf("tasks %v, before %v", now, tasks)
	}
}

// twoTasks waits until two tasks live, and none of the old ones.
func twoTasks(t *testing.T, d *docker.Engine, old map[string]bool) (tasks map[string]bool) {
	t.Helper()
	eventually(t, "two new tasks", func() bool {
		var err error
		if tasks, err = d.Tasks(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id := range tasks {
			if old[id] {
				return false
			}
		}
		return len(tasks) == 2
	})
	return tasks
}

// rollOut updates the service three times at once: each is done, and nothing
// but the counter has changed.
func rollOut(t *testing.T, e *engine.Engine, d *docker.Engine, id string) {
	t.Helper()
	inspect := func() swarm.Service {
		service, _, err := e.Client().ServiceInspectWithRaw(t.Context(), id, swarm.ServiceInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return service
	}
	before := inspect()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := d.UpdateService(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	want, got := before.Spec, inspect().Spec
	want.TaskTemplate.ForceUpdate += 3
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the spec is %+v, want %+v", got, want)
	}
}
