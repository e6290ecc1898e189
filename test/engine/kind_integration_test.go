//go:build integration

package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
)

// TestAbout: what is promised of an engine is true of the one that was started.
func TestAbout(t *testing.T) {
	for _, o := range []Options{{}, {LiveRestore: true}, {UsernsRemap: true}, {CgroupV2: true}} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			e := ForTest(t, o)
			a, err := e.About(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Log(a)
			if a.LiveRestore != o.LiveRestore || a.UsernsRemap != o.UsernsRemap || o.CgroupV2 && a.CgroupVersion != "2" {
				t.Errorf("%+v", a)
			}
			if err := e.ImportBusybox(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := e.Run(t.Context(), &container.Config{Image: BusyboxImage, Cmd: []string{"cat", "/proc/self/cgroup"}}, nil)
			if err != nil || got.ExitCode != 0 {
				t.Fatalf("%v, %s", err, got.Stderr)
			}
		})
	}
}

// TestDockerCommand: it is that of test/engines, and talks to this Engine.
func TestDockerCommand(t *testing.T) {
	e := ForTest(t, Options{})
	id, err := e.Docker(t.Context(), t.TempDir(), "info", "--format", "{{.ID}}")
	if err != nil {
		t.Fatal(err)
	}
	info, err := e.Client().Info(t.Context())
	if err != nil || strings.TrimSpace(id) != info.ID {
		t.Errorf("the command talks to engine %s, %v, want %s", id, err, info.ID)
	}
	if _, err := e.Docker(t.Context(), t.TempDir(), "compose", "version"); err != nil {
		t.Error(err)
	}
	if _, err := e.Docker(t.Context(), t.TempDir(), "start", "nobody"); err == nil || !strings.Contains(err.Error(), "No such container") {
		t.Errorf("got %v, want what the command wrote", err)
	}
}

// TestSwarm: a task of every node runs.
func TestSwarm(t *testing.T) {
	s, err := StartSwarm(t.Context(), 3, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(s.Nodes[0].LogTail(40), s.Nodes[1].LogTail(40))
		}
		if err := s.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	for _, node := range s.Nodes {
		if err := node.ImportProbe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	created, err := s.Nodes[0].client.ServiceCreate(t.Context(), swarm.ServiceSpec{
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: ProbeImage, Command: []string{"/probe", "/run/secrets", "hold"}}},
		Mode:         swarm.ServiceMode{Global: &swarm.GlobalService{}},
	}, swarm.ServiceCreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, node := range s.Nodes {
		eventually(t, fmt.Sprintf("a task on node %d", i), func() bool {
			running, err := node.client.ContainerList(t.Context(), container.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return len(running) == 1 && running[0].Labels["com.docker.swarm.service.id"] == created.ID
		})
	}
}
