//go:build integration

package swarm_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/plugin"
	"github.com/quaymaster/quaymaster/inject/swarm"
	"github.com/quaymaster/quaymaster/test/engine"
)

// manager is a swarm of one node with the gate beside it.
type manager struct {
	*engine.Engine
	driver string
	asked  chan inject.Task
	log    *lines
}

// start makes the swarm. deliver answers the gate.
func start(t *testing.T, deliver func(inject.Task) (secret.Value, error)) *manager {
	t.Helper()
	m := &manager{driver: "quaymaster-test-" + strings.ToLower(rand.Text()), asked: make(chan inject.Task, 100), log: &lines{}}
	log := slog.New(slog.NewTextHandler(m.log, nil))
	gate := swarm.New(swarm.Options{
		Deliverer: deliverer(func(_ context.Context, task inject.Task) (secret.Value, error) {
			m.asked <- task
			return deliver(task)
		}),
		Node: func(ctx context.Context, id string) (string, error) {
			node, _, err := m.Client().NodeInspectWithRaw(ctx, id)
			return node.Description.Hostname, err
		},
		Timeout: time.Minute, Log: log,
	})
	listener, err := plugin.Listen(filepath.Join("/run/docker/plugins", m.driver+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	served := plugin.New(plugin.Options{Listener: listener, Subsystems: []plugin.Subsystem{gate.Subsystem()}, Log: log})
	go func() { done <- served.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	m.Engine = engine.ForTest(t, engine.Options{})
	err = m.ImportBusybox(t.Context())
	if err == nil {
		_, err = m.Client().SwarmInit(t.Context(), dockerswarm.InitRequest{ListenAddr: "127.0.0.1:2377", AdvertiseAddr: "127.0.0.1"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// service creates a service whose task shows its secret.
func (m *manager) service(t *testing.T, name string) {
	t.Helper()
	created, err := m.Client().SecretCreate(t.Context(), dockerswarm.SecretSpec{
		Annotations: dockerswarm.Annotations{Name: "password", Labels: map[string]string{"quaymaster.ref": "vault:kv/shop/db#password"}},
		Driver:      &dockerswarm.Driver{Name: m.driver},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Client().ServiceCreate(t.Context(), dockerswarm.ServiceSpec{
		Annotations: dockerswarm.Annotations{Name: name, Labels: map[string]string{"team": "shop"}},
		TaskTemplate: dockerswarm.TaskSpec{ContainerSpec: &dockerswarm.ContainerSpec{
			Image: engine.BusyboxImage, Command: []string{"/bin/sh", "-c", "cat /run/secrets/password; echo; exec sleep 1000"},
			Secrets: []*dockerswarm.SecretReference{{SecretID: created.ID, SecretName: "password",
				File: &dockerswarm.SecretReferenceFileTarget{Name: "password", UID: "0", GID: "0", Mode: 0o400}}},
		}},
	}, dockerswarm.ServiceCreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what the swarm is about to do.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !happened(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestServiceReadsItsSecret(t *testing.T) {
	m := start(t, func(inject.Task) (secret.Value, error) { return secret.NewValue([]byte(plaintext)), nil })
	m.service(t, "web")
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	task := <-m.asked
	if task.ID == "" || task.NodeID == "" || task.ServiceID == "" || !strings.HasPrefix(task.Name, "web.1.") ||
		task.Service != "web" || task.ServiceLabels["team"] != "shop" || task.Node != hostname || !strings.HasPrefix(task.Image, engine.BusyboxImage) ||
		task.Secret != "password" || task.SecretLabels["quaymaster.ref"] != "vault:kv/shop/db#password" {
		t.Errorf("task %+v", task)
	}
	eventually(t, "the task shows its secret", func() bool {
		list, err := m.Client().ContainerList(t.Context(), dockercontainer.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "com.docker.swarm.task.id="+task.ID))})
		if err != nil || len(list) == 0 {
			return false
		}
		stdout, _, err := m.Logs(t.Context(), list[0].ID)
		return err == nil && string(stdout) == plaintext+"\n"
	})
	if log := m.log.String(); log != "" {
		t.Errorf("log %s", log)
	}
}

// TestErrorIsLogged: Swarm shows the driver's error to nobody.
func TestErrorIsLogged(t *testing.T) {
	m := start(t, func(inject.Task) (secret.Value, error) {
		return secret.Value{}, errors.New(`ref "vault:kv/shop/db#password" is not granted to service web`)
	})
	m.service(t, "web")
	task := <-m.asked
	eventually(t, "the refusal is logged", func() bool { return strings.Contains(m.log.String(), "refused a task its secret") })
	for _, want := range []string{"is not granted to service web", "task_id=" + task.ID, "service=web", "secret=password"} {
		if !strings.Contains(m.log.String(), want) {
			t.Errorf("%q is missing in %s", want, m.log)
		}
	}
	eventually(t, "the swarm says that the task failed", func() bool {
		found, _, err := m.Client().TaskInspectWithRaw(t.Context(), task.ID)
		return err == nil && found.Status.Err != "" && found.Status.State != dockerswarm.TaskStateRunning
	})
}
