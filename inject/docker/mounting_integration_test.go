//go:build integration

package docker_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/test/engine"
)

// hold creates a container of the probe that runs until it is stopped.
func hold(t *testing.T, e *engine.Engine, name, user string, host *container.HostConfig) string {
	t.Helper()
	config := &container.Config{Image: engine.ProbeImage, Cmd: []string{"/probe", "/", "hold"}, User: user, StopSignal: "SIGKILL"}
	created, err := e.Client().ContainerCreate(t.Context(), config, host, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	return created.ID
}

func withProbe(t *testing.T, o engine.Options) *engine.Engine {
	t.Helper()
	e := engine.ForTest(t, o)
	if err := e.ImportProbe(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

// start begins to start a container; wait returns when the engine has.
func start(t *testing.T, e *engine.Engine, id string) (wait func() error) {
	t.Helper()
	result := make(chan error, 1)
	var starting sync.WaitGroup
	starting.Go(func() { result <- e.Client().ContainerStart(t.Context(), id, container.StartOptions{}) })
	t.Cleanup(starting.Wait)
	return func() error { return <-result }
}

// candidates are who may be the one that the engine mounts the volume for.
func candidates(t *testing.T, d *docker.Engine, p *plugin, volume string) map[string]inject.Arrival {
	t.Helper()
	arrivals, err := d.Mounting(t.Context(), p.name, volume)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]inject.Arrival{}
	for _, a := range arrivals {
		found[a.Container] = a
	}
	return found
}

// watch runs d's watch until the test is over, from its first connection on.
func watch(t *testing.T, d *docker.Engine) (events <-chan inject.Event, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan inject.Event, 1000)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := d.Watch(ctx, func(event inject.Event) { seen <- event }); err != nil {
			t.Error(err)
		}
	})
	stop = func() { cancel(); watching.Wait() }
	t.Cleanup(stop)
	expect(t, seen, inject.Event{Kind: inject.Connected})
	return seen, stop
}

// TestMountingWhileTheEngineWaits: the containers are found while the engine
// really waits for the driver; what runs is none of them, nor who mounts
// another volume.
func TestMountingWhileTheEngineWaits(t *testing.T) {
	e, p := driven(t, engine.Options{})
	d := openWith(t, docker.Options{Host: e.Host(), Driver: p.name})
	watch(t, d) // learns the data root
	a := hold(t, e, "one", "1000:7", p.mounting("shop"))
	b := hold(t, e, "two", "shop", p.mounting("shop"))
	hold(t, e, "three", "", p.mounting("shop-2"))

	wait := start(t, e, a)
	first := p.next(t)
	found := candidates(t, d, p, "shop")
	dir := filepath.Join(e.DataRoot(), "containers")
	want := map[string]inject.Arrival{
		a: {Container: a, User: &inject.Owner{UID: 1000, GID: 7}, EngineDir: filepath.Join(dir, a), FilesOnly: true},
		b: {Container: b, EngineDir: filepath.Join(dir, b), FilesOnly: true},
	}
	if !reflect.DeepEqual(found, want) {
		t.Errorf("got %+v, want %+v", found, want)
	}
	if found := candidates(t, d, p, "/run/secrets"); len(found) != 0 { // the API's filter takes paths too
		t.Errorf("a path is taken for a volume: %+v", found)
	}
	first.answer <- nil
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	wantRunning(t, d, p, map[string]held{a: first})

	waitB := make(chan error, 1) // a restart calls Mount again, and b's start
	go func() { waitB <- d.Restart(t.Context(), a) }()
	again := p.next(t)
	if found := candidates(t, d, p, "shop"); len(found) != 2 {
		t.Errorf("while a restarts: %+v", found)
	}
	again.answer <- nil
	if err := <-waitB; err != nil {
		t.Fatal(err)
	}
	if found := candidates(t, d, p, "shop"); len(found) != 1 || found[b].Container != b {
		t.Errorf("while a runs: %+v", found)
	}
	if again.id == first.id {
		t.Error("the engine uses the ID of a mount twice")
	}
}

// wantRunning checks the volumes of what runs.
func wantRunning(t *testing.T, d *docker.Engine, p *plugin, want map[string]held) {
	t.Helper()
	running, err := d.Running(t.Context())
	if err != nil || len(running) != len(want) {
		t.Fatalf("got %+v, %v, want %d containers", running, err, len(want))
	}
	for _, facts := range running {
		h := want[facts.ID]
		if len(facts.Volumes) != 1 || facts.Volumes[0].Name != h.volume || facts.Volumes[0].Driver != p.name ||
			facts.Volumes[0].MountID != h.id {
			t.Errorf("container %s mounts %+v, want %+v", facts.Name, facts.Volumes, h)
		}
	}
}

// TestMountsOfASharedVolume: each container has the ID of its own mount,
// though they share the volume, and also when the engine was killed and left
// them running; and it is not remembered beyond its run.
func TestMountsOfASharedVolume(t *testing.T) {
	e, p := driven(t, engine.Options{LiveRestore: true})
	d := openWith(t, docker.Options{Host: e.Host(), DataRoot: e.DataRoot(), Driver: p.name})
	mounts := map[string]held{}
	for _, name := range []string{"one", "two"} {
		id := hold(t, e, name, "", p.mounting("shop"))
		wait := start(t, e, id)
		mounts[id] = p.next(t)
		mounts[id].answer <- nil
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	wantRunning(t, d, p, mounts)
	if err := errors.Join(e.Kill(), e.Restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	wantRunning(t, d, p, mounts)
	for id := range mounts {
		facts, err := d.Facts(t.Context(), id, "")
		if err != nil || len(facts.Volumes) != 1 || facts.Volumes[0].Name != "shop" || facts.Volumes[0].MountID != "" {
			t.Errorf("got %+v, %v", facts.Volumes, err)
		}
	}
}

// TestMountingWhileTheEngineRestores: at a boot the engine asks before it
// answers. Who it asks for, and what that is, is known all the same.
func TestMountingWhileTheEngineRestores(t *testing.T) {
	e, p := driven(t, engine.Options{})
	o := docker.Options{Host: e.Host(), State: filepath.Join(t.TempDir(), "state"), Driver: p.name}
	before := openWith(t, o)
	_, stop := watch(t, before)
	host := p.mounting("shop")
	host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
	var ids []string
	for _, name := range []string{"one", "two"} {
		id := hold(t, e, name, "65532", host)
		ids = append(ids, id)
		wait := start(t, e, id)
		p.next(t).answer <- nil
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	back := make(chan error, 1)
	go func() { back <- e.Restart(t.Context()) }()
	first, second := p.next(t), p.next(t)

	d := openWith(t, o) // the agent of this boot
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := e.Client().ContainerList(short, container.ListOptions{}); err == nil {
		t.Error("the engine answers while it restores: this test shows nothing")
	}
	found := candidates(t, d, p, "shop")
	for _, id := range ids {
		want := inject.Arrival{Container: id, User: &inject.Owner{UID: 65532}, FilesOnly: true,
			EngineDir: filepath.Join(e.DataRoot(), "containers", id)}
		if !reflect.DeepEqual(found[id], want) {
			t.Errorf("got %+v, want %+v", found[id], want)
		}
		if facts, err := d.Facts(t.Context(), id, found[id].EngineDir); err != nil || len(facts.Volumes) != 1 || facts.Volumes[0].Driver != p.name {
			t.Errorf("got %+v, %v", facts, err)
		}
	}
	first.answer <- nil
	second.answer <- nil
	if err := <-back; err != nil {
		t.Fatal(err)
	}
	eventually(t, "both run again", func() bool {
		running, err := d.Running(t.Context())
		return err == nil && len(running) == 2
	})
}

// TestMountingInAUserNamespace: the engine's remap is found out, and is what
// the kernel says once the container runs; a container that opted out of it
// shares the host's users.
func TestMountingInAUserNamespace(t *testing.T) {
	e, p := driven(t, engine.Options{UsernsRemap: true})
	d := openWith(t, docker.Options{Host: e.Host(), DataRoot: e.DataRoot(), Driver: p.name})
	watch(t, d)
	own := p.mounting("shop")
	own.UsernsMode = "host"
	ids := []string{hold(t, e, "remapped", "1000", p.mounting("shop")), hold(t, e, "host", "1000", own)}
	for _, id := range ids {
		wait := start(t, e, id)
		mount := p.next(t)
		arrival := candidates(t, d, p, "shop")[id]
		mount.answer <- nil
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		process, err := d.Process(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(arrival.UIDMap, process.UIDMap) || !slices.Equal(arrival.GIDMap, process.GIDMap) || *arrival.User != *process.User {
			t.Errorf("got %+v, and when it runs %+v", arrival, process)
		}
		if remapped := len(process.UIDMap) > 0; remapped != (id == ids[0]) || process.User.UID != 1000 || process.EngineDir != arrival.EngineDir {
			t.Errorf("got %+v", process)
		}
	}
}

// eventually waits for what the engine is about to do.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !happened() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: did not happen within a minute", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
