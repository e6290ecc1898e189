//go:build engines

package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
)

// taskDefinition is what of ECS's the ECS agent makes containers from.
type taskDefinition struct {
	Family               string
	ContainerDefinitions []containerDefinition
}

type containerDefinition struct {
	Name, Image, User string
	DockerLabels      map[string]string
	Environment       []struct{ Name, Value string }
}

// config is a container as the ECS agent creates it: of the task definition's
// labels, and then its own. No runtime is named. The probe takes the image's place.
func (d taskDefinition) config(c containerDefinition, cluster string) *container.Config {
	labels := maps.Clone(c.DockerLabels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, map[string]string{
		"com.amazonaws.ecs.cluster":                 cluster,
		"com.amazonaws.ecs.container-name":          c.Name,
		"com.amazonaws.ecs.task-arn":                "arn:aws:ecs:" + host.Region + ":" + host.Account + ":task/" + cluster + "/8f03e41243824aea923aca126495f665",
		"com.amazonaws.ecs.task-definition-family":  d.Family,
		"com.amazonaws.ecs.task-definition-version": "1",
	})
	config := &container.Config{Image: engine.ProbeImage, Cmd: []string{"/probe", "/run/secrets", "hold"}, User: c.User, Labels: labels}
	for _, variable := range c.Environment {
		config.Env = append(config.Env, variable.Name+"="+variable.Value)
	}
	return config
}

// tryECS starts the containers of the task definition as the ECS agent does. The
// same labels in a task of another family give nothing, whatever it calls
// itself by dockerLabels.
func (w *world) tryECS(t *testing.T) {
	var task taskDefinition
	text, err := os.ReadFile("ecs/task-definition.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &task); err != nil || len(task.ContainerDefinitions) != 2 {
		t.Fatalf("the task definition has %d containers, %v", len(task.ContainerDefinitions), err)
	}
	w.configure(t, "ecs", "")
	if _, err := w.Install(soon(t), "--default"); err != nil {
		t.Fatal(err)
	}
	web, metrics := task.ContainerDefinitions[0], task.ContainerDefinitions[1]
	report := w.reportOf(t, w.asECS(t, task, web))
	holds(t, report, 0o400, 101, map[string]string{"htpasswd": w.value(t, "shop/web", "htpasswd")})
	varies(t, report, "COOKIE_KEY", w.value(t, "shop/web", "cookie_key"))
	varies(t, report, web.Environment[0].Name, web.Environment[0].Value)
	if report := w.reportOf(t, w.asECS(t, task, metrics)); len(report.Files) != 0 {
		t.Errorf("a container without labels of ours has %v", report.Files)
	}
	web.DockerLabels["com.amazonaws.ecs.task-definition-family"] = task.Family
	task.Family = "shop-api"
	id, err := w.Engine.Launch(soon(t), task.config(web, "shop"), &container.HostConfig{})
	w.discard(t, id)
	if err == nil || !strings.Contains(err.Error(), `denied by policy: grant "web" lists it, but it is for`) {
		t.Errorf("a task of another family: %v", err)
	}
}

// asECS creates and starts a container of the cluster shop, until the test ends.
func (w *world) asECS(t *testing.T, task taskDefinition, c containerDefinition) (id string) {
	t.Helper()
	name := fmt.Sprintf("ecs-%s-1-%s-cca48e8dcadd97805600", task.Family, c.Name)
	created, err := w.Engine.Client().ContainerCreate(soon(t), task.config(c, "shop"), &container.HostConfig{NetworkMode: "bridge"}, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	w.discard(t, created.ID)
	if err := w.Engine.Client().ContainerStart(soon(t), created.ID, container.StartOptions{}); err != nil {
		t.Fatalf("%v\n%s", err, lastLines(w.Log(), 10))
	}
	return created.ID
}

// discard removes a container when the test ends.
func (w *world) discard(t *testing.T, id string) {
	t.Cleanup(func() {
		err := w.Engine.Client().ContainerRemove(context.WithoutCancel(t.Context()), id, container.RemoveOptions{Force: true})
		if err != nil {
			t.Error(err)
		}
	})
}

// trySwarm deploys the stack on a swarm of one node.
func (w *world) trySwarm(t *testing.T) {
	w.configure(t, "swarm", "")
	s, err := shop.InitSwarm(soon(t), w.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Engine.Client().SwarmLeave(context.WithoutCancel(t.Context()), true); err != nil {
			t.Error(err)
		}
	})
	p := w.project(t, "swarm", "")
	p.write(t, "override.yaml", fmt.Sprintf(`version: "3.8"
services:
  db: {image: %[1]s, entrypoint: [/probe], command: [/run/secrets, hold]}
  web: {image: %[1]s, entrypoint: [/probe], command: [/run/secrets, hold]}
`, engine.ProbeImage))
	if _, err := w.Engine.Docker(soon(t), p.dir, "stack", "deploy", "--resolve-image", "never", "--detach=true",
		"-c", "stack.yaml", "-c", "override.yaml", "shop"); err != nil {
		t.Fatal(err)
	}
	db := w.tasks(t, s, "shop_db", 1)
	if seen := w.reportOf(t, db[0]).Files["password"]; !is(seen, w.value(t, "shop/db", "password")) || seen.UID != 999 || seen.Mode != 0o400 {
		t.Errorf("the task of shop_db saw %+v", seen)
	}
	for _, id := range w.tasks(t, s, "shop_web", 2) {
		if seen := w.reportOf(t, id).Files; !is(seen["htpasswd"], w.value(t, "shop/web", "htpasswd")) || seen["web.json"].Length == 0 {
			t.Errorf("a task of shop_web saw %+v", seen)
		}
	}
	w.tellsNothing(t, "shop_htpasswd")
}

// tellsNothing fails unless a secret of the swarm shows a driver and no value.
func (w *world) tellsNothing(t *testing.T, secret string) {
	t.Helper()
	shown, _, err := w.Engine.Client().SecretInspectWithRaw(soon(t), secret)
	if err != nil || shown.Spec.Driver == nil || len(shown.Spec.Data) != 0 {
		t.Errorf("docker secret inspect: %+v, %v", shown.Spec, err)
	}
}

// tasks are the containers of a service, once n tasks run.
func (w *world) tasks(t *testing.T, s *shop.Swarm, service string, n int) (ids []string) {
	t.Helper()
	var running []swarm.Task
	err := w.Await(t.Context(), service+" to run", func() bool {
		var err error
		if running, err = s.Running(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		return len(running) == n
	})
	if err != nil {
		all, _ := s.Tasks(t.Context(), service)
		t.Fatalf("%v\n%+v", err, all)
	}
	for _, task := range running {
		ids = append(ids, task.Status.ContainerStatus.ContainerID)
	}
	return ids
}
