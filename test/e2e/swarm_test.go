//go:build integration

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/shop"
)

// swarmSettings are the agent's on a manager.
const swarmSettings = "refresh: 1s\ngate_timeout: 10s\n" + shop.SwarmGrants

// inSwarm makes the shared host the only node of a swarm for one test.
func inSwarm(t *testing.T, settings string) *shop.Swarm {
	t.Helper()
	reconfigure(t, h, settings)
	s, err := shop.InitSwarm(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Engine.Client().SwarmLeave(context.WithoutCancel(t.Context()), true); err != nil {
			t.Error(err)
		}
	})
	return s
}

// secretOf makes a secret of the swarm.
func secretOf(t *testing.T, s *shop.Swarm, name, ref string, more ...string) *swarm.SecretReference {
	t.Helper()
	made, err := s.Secret(t.Context(), name, ref, more...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func serve(t *testing.T, s *shop.Swarm, spec swarm.ServiceSpec) (id string) {
	t.Helper()
	id, err := s.Serve(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// checkTasks waits until n tasks of a service run, each of which has seen the
// files at its first instruction.
func checkTasks(t *testing.T, s *shop.Swarm, id string, n int, files map[string][]string) {
	t.Helper()
	wrong := "nothing yet"
	await(t, h, fmt.Sprintf("%d tasks of service %s (or see below)", n, id), func() bool {
		tasks, err := s.Running(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if err := s.Saw(t.Context(), task, files); err != nil {
				wrong = err.Error()
				return strings.Contains(wrong, ": file ") // what was seen stays as it is
			}
		}
		if len(tasks) == n {
			wrong = ""
		}
		return len(tasks) == n
	})
	if wrong != "" {
		t.Errorf("service %s: %s", id, wrong)
	}
}

// serviceSays is the label with which a service tells what is wrong.
func serviceSays(t *testing.T, s *shop.Swarm, id string) string {
	t.Helper()
	service, err := s.Service(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return service.Spec.Labels[inject.LabelServiceError]
}

// TestSwarm: every task of a service has what the service was granted at its
// first instruction; one that was granted nothing does not start, and its
// service says why until it is.
func TestSwarm(t *testing.T) {
	s := inSwarm(t, swarmSettings)
	password := secretOf(t, s, "password", "vault:kv/shop/db#password")
	all := secretOf(t, s, "all", "vault:kv/shop/db", "quaymaster.format", "json")
	others := secretOf(t, s, "other", "vault:kv/other/db#password")
	db := serve(t, s, shop.Service("db", 3, password, all))
	other := serve(t, s, shop.Service("other", 1, others))
	stranger := serve(t, s, shop.Service("stranger", 2, password))
	pinned := serve(t, s, shop.Service("pinned", 1, password)) // this node is not called harbour
	checkTasks(t, s, db, 3, map[string][]string{"password": {shop.Password}, "all": asJSON(t)})
	checkTasks(t, s, other, 1, map[string][]string{"other": {"not-for-the-shop"}})
	for name, id := range map[string]string{"stranger": stranger, "pinned": pinned} {
		await(t, h, "what service "+name+" says", func() bool { return serviceSays(t, s, id) != "" })
		if said := serviceSays(t, s, id); !strings.Contains(said, "secret password: ") || !strings.Contains(said, "vault:kv/shop/db#password") {
			t.Errorf("service %s says %q", name, said)
		}
		tasks, err := s.Tasks(t.Context(), id)
		if err != nil || len(tasks) == 0 {
			t.Fatalf("service %s has tasks %v, %v", name, tasks, err)
		}
		for _, task := range tasks {
			if task.Status.ContainerStatus != nil && task.Status.ContainerStatus.PID != 0 {
				t.Errorf("a task of service %s has started: %+v", name, task.Status)
			}
			if n := strings.Count(h.Log(), "task_id="+task.ID+" "); n > 1 {
				t.Errorf("the refusal of one task is in the log %d times", n)
			}
		}
	}
	checkGranted(t, s, stranger)
	checkTasks(t, s, db, 3, map[string][]string{"password": {shop.Password}}) // nothing of that disturbed the others
}

// asJSON are the ways in which the whole secret may be written.
func asJSON(t *testing.T) []string {
	t.Helper()
	fields := map[string]string{"password": shop.Password, "user": "shop"}
	tight, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	indented, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return []string{string(tight), string(tight) + "\n", string(indented), string(indented) + "\n"}
}

// checkGranted grants the stranger what it asks for: it starts and is content.
func checkGranted(t *testing.T, s *shop.Swarm, id string) {
	t.Helper()
	if err := h.StopAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	granted := swarmSettings + "  - {name: stranger, workloads: {swarm.service: stranger}, secrets: [\"vault:kv/shop/**\"]}\n"
	if err := h.Configure(granted); err != nil {
		t.Fatal(err)
	}
	if err := h.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkTasks(t, s, id, 2, map[string][]string{"password": {shop.Password}})
	before, err := s.Running(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	await(t, h, "the service to be content", func() bool { return serviceSays(t, s, id) == "" })
	after, err := s.Running(t.Context(), id)
	if err != nil || len(after) != 2 {
		t.Fatalf("tasks %v, %v", after, err)
	}
	for _, task := range after {
		if task.ID != before[0].ID && task.ID != before[1].ID {
			t.Errorf("task %s was replaced for a label", task.ID)
		}
	}
}

// TestDatabaseLoginOfATask: each task of a service has a login of its own, which
// is gone from PostgreSQL when the task is over.
func TestDatabaseLoginOfATask(t *testing.T) {
	s := inSwarm(t, "gate_timeout: 20s\ngrants:\n  - {name: db, workloads: {swarm.service: db}, secrets: [\"vault:database/creds/shop\"]}\n")
	d := newDatabase(t, time.Hour, 2*time.Hour)
	spec := shop.Service("db", 2, secretOf(t, s, "login", "vault:database/creds/shop", "quaymaster.format", "dotenv"))
	container := spec.TaskTemplate.ContainerSpec
	container.Image, container.Args = engine.PostgresImage, nil
	container.Env = []string{"PGHOST=/run/postgresql", "PGPORT=" + d.Port(), "PGDATABASE=postgres"}
	container.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: d.SocketDir(), Target: "/run/postgresql"}}
	container.Command = []string{"bash", "-c", `. /run/secrets/login
PGUSER=$username PGPASSWORD=$password psql -AtXc "SELECT 'sum ' || sum(pieces) || ' ' || current_user FROM stock" || echo failed
trap 'exit 0' TERM
while :; do sleep 0.1; done`}
	id := serve(t, s, spec)
	await(t, h, "two tasks", func() bool {
		tasks, err := s.Running(t.Context(), id)
		return err == nil && len(tasks) == 2
	})
	tasks, err := s.Running(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	users := map[string]bool{}
	for _, task := range tasks {
		sum, user, _ := strings.Cut(said(t, task.Status.ContainerStatus.ContainerID, "sum ", 1, time.Minute)[0], " ")
		if users[user] = true; sum != "15" {
			t.Errorf("a task counted %q pieces as %q", sum, user)
		}
	}
	if logins := d.logins(t); len(users) != 2 || len(logins) != 2 {
		t.Errorf("two tasks use %v, and there are %v", users, logins)
	}
	one := uint64(1)
	if err := s.Change(t.Context(), id, func(spec *swarm.ServiceSpec) { spec.Mode.Replicated.Replicas = &one }); err != nil {
		t.Fatal(err)
	}
	d.comeTo(t, "the login of a task that is over to go", func(logins int) bool { return logins == 1 })
	if err := h.Engine.Client().ServiceRemove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	d.comeTo(t, "the other login to go", func(logins int) bool { return logins == 0 })
}
