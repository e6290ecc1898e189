//go:build integration

package docker_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/test/engine"
)

// TestFailedStarts: what a gate refused is found, with the reason, and runs when
// it is started again; what failed for reasons of its own, ended well, runs or
// is just starting is none of the agent's business.
func TestFailedStarts(t *testing.T) {
	e, p := driven(t, engine.Options{})
	d := openWith(t, docker.Options{Host: e.Host(), Driver: p.name})
	host := p.mounting("shop")
	host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	refused := hold(t, e, "refused", "", host)
	wait := start(t, e, refused)
	p.next(t).answer <- errors.New("quaymaster: no grant allows vault:kv/shop to container refused")
	if err := wait(); err == nil {
		t.Fatal("the engine starts what its volume driver refuses")
	}
	labelled := failing(t, e, "labelled", map[string]string{"quaymaster.secret.a": "vault:kv/a"})
	failing(t, e, "of-others", nil)
	failing(t, e, "of-a-task", map[string]string{"quaymaster.secret.a": "vault:kv/a", "com.docker.swarm.task.id": "x"})
	if _, err := e.Run(t.Context(), &container.Config{Image: engine.ProbeImage, Labels: map[string]string{"quaymaster.secret.a": "vault:kv/a"}}, nil); err != nil {
		t.Fatal(err)
	}
	starting := hold(t, e, "starting", "", p.mounting("shop"))
	waitStarting := start(t, e, starting)
	held := p.next(t)

	failed, err := d.Failed(t.Context())
	if err != nil || len(failed) != 2 {
		t.Fatalf("got %+v, %v", failed, err)
	}
	want := inject.Failure{Container: refused, Name: "refused", Reason: failed[0].Reason, Restarts: true}
	if failed[0] != want || !strings.Contains(failed[0].Reason, "no grant allows vault:kv/shop") {
		t.Errorf("got %+v, want %+v", failed[0], want)
	}
	if failed[1].Container != labelled || failed[1].Restarts || failed[1].Reason == "" {
		t.Errorf("got %+v, want the one that is labelled", failed[1])
	}
	held.answer <- nil
	if err := waitStarting(); err != nil {
		t.Fatal(err)
	}

	started := make(chan error, 1)
	go func() { started <- d.Start(t.Context(), refused) }()
	p.next(t).answer <- nil
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if failed, err := d.Failed(t.Context()); err != nil || len(failed) != 1 || failed[0].Container != labelled {
		t.Errorf("after the start: %+v, %v", failed, err)
	}
}

// failing is a container whose start has failed.
func failing(t *testing.T, e *engine.Engine, name string, labels map[string]string) string {
	t.Helper()
	config := &container.Config{Image: engine.ProbeImage, Cmd: []string{"/no-such-program"}, Labels: labels}
	created, err := e.Client().ContainerCreate(t.Context(), config, nil, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Client().ContainerStart(t.Context(), created.ID, container.StartOptions{}); err == nil {
		t.Fatal("a program that is not there starts")
	}
	return created.ID
}
