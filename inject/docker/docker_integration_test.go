//go:build integration

package docker_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/test/engine"
)

const tag = "images.test/labelled"

// labelled is an engine with an image that brings labels along, and a
// container of it that has some of its own.
func labelled(t *testing.T) (e *engine.Engine, id string) {
	t.Helper()
	e = engine.ForTest(t, engine.Options{})
	tarball, err := engine.ProbeTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Import(t.Context(), tag, bytes.NewReader(tarball), "LABEL vendor=image", "LABEL env=image"); err != nil {
		t.Fatal(err)
	}
	return e, create(t, e, "shop-db-1")
}

func create(t *testing.T, e *engine.Engine, name string) string {
	t.Helper()
	config := &container.Config{Image: tag, Cmd: []string{"/probe", "/", "hold"},
		Labels: map[string]string{"env": "own", "quaymaster.secret.a": "vault:kv/a"}}
	created, err := e.Client().ContainerCreate(t.Context(), config, nil, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	return created.ID
}

func check(t *testing.T, d *docker.Engine, e *engine.Engine, id, name string) {
	t.Helper()
	facts, err := d.Facts(t.Context(), id, filepath.Join(e.DataRoot(), "containers", id))
	if err != nil {
		t.Fatal(err)
	}
	if facts.ID != id || facts.Name != name || facts.Image != tag || facts.Labels["quaymaster.secret.a"] != "vault:kv/a" ||
		facts.Labels["env"] != "own" || facts.Labels["vendor"] != "image" ||
		facts.ImageLabels["env"] != "image" || facts.ImageLabels["vendor"] != "image" || len(facts.ImageLabels) != 2 {
		t.Errorf("got %+v", facts)
	}
}

func open(t *testing.T, e *engine.Engine) *docker.Engine {
	t.Helper()
	return openWith(t, docker.Options{Host: e.Host()})
}

func openWith(t *testing.T, o docker.Options) *docker.Engine {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	d, err := docker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestFactsFromTheAPI(t *testing.T) {
	e, id := labelled(t)
	check(t, open(t, e), e, id, "shop-db-1")
}

// TestFactsFromTheEnginesFiles pins the format of the engine's own files: they
// are all there is while the API does not answer. Which labels an image brings
// along they say in the classic image store only; else what an earlier agent
// kept does, and without that nothing is guessed.
func TestFactsFromTheEnginesFiles(t *testing.T) {
	e, id := labelled(t)
	o := docker.Options{Host: e.Host(), State: t.TempDir()}
	_, stop := watch(t, openWith(t, o))
	stop()
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	check(t, openWith(t, o), e, id, "shop-db-1")

	dir := filepath.Join(e.DataRoot(), "containers", id)
	if classic, err := filepath.Glob(filepath.Join(e.DataRoot(), "image", "*", "imagedb", "content", "sha256", "*")); err != nil || len(classic) > 0 {
		check(t, open(t, e), e, id, "shop-db-1")
	} else if facts, err := open(t, e).Facts(t.Context(), id, dir); err == nil {
		t.Errorf("got %+v out of nothing", facts)
	}
}

// TestFactsOfWhatTheWatchHasSeen: a container that was created while the watch
// ran is known without asking anybody; a new name is noticed; one that is
// removed is forgotten.
func TestFactsOfWhatTheWatchHasSeen(t *testing.T) {
	e, before := labelled(t)
	d := open(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan inject.Event, 16)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := d.Watch(ctx, func(event inject.Event) { events <- event }); err != nil {
			t.Error(err)
		}
	})
	defer watching.Wait()
	defer cancel()
	expect(t, events, inject.Event{Kind: inject.Connected})
	id := create(t, e, "shop-db-2")
	if err := e.Client().ContainerStart(t.Context(), id, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, events, inject.Event{Kind: inject.Started, Container: id})
	if err := e.Client().ContainerRename(t.Context(), id, "renamed"); err != nil {
		t.Fatal(err)
	}
	if err := d.Stop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	expect(t, events, inject.Event{Kind: inject.Died, Container: id})
	if err := e.Kill(); err != nil { // nobody can be asked any more, and no file is named
		t.Fatal(err)
	}
	for known, name := range map[string]string{before: "shop-db-1", id: "renamed"} {
		facts, err := d.Facts(t.Context(), known, "")
		if err != nil || facts.Name != name || facts.ImageLabels["vendor"] != "image" {
			t.Errorf("container %s: %+v, %v", name, facts, err)
		}
	}
	if err := e.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, events, inject.Event{Kind: inject.Connected})
	if err := e.Client().ContainerRemove(t.Context(), id, container.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, events, inject.Event{Kind: inject.Removed, Container: id})
	if _, err := d.Facts(t.Context(), id, ""); err == nil {
		t.Error("a removed container is still known")
	}
}

// expect waits for an event that has just happened.
func expect(t *testing.T, events <-chan inject.Event, want inject.Event) {
	t.Helper()
	select {
	case got := <-events:
		if age := time.Since(got.At); got.Kind != inject.Connected && (age < 0 || age > time.Minute) {
			t.Errorf("event %+v is %v old", got, age)
		}
		got.At = time.Time{}
		if got != want {
			t.Fatalf("got event %+v, want %+v", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("no event %+v", want)
	}
}

// TestFactsWithoutAnAnswerAreAnError: what is not known is never guessed.
func TestFactsWithoutAnAnswerAreAnError(t *testing.T) {
	e, id := labelled(t)
	d := open(t, e)
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	if facts, err := d.Facts(t.Context(), id, ""); err == nil {
		t.Errorf("got %+v out of nothing", facts)
	}
}

// TestRunning lists containers with the labels of their images.
func TestRunning(t *testing.T) {
	e, id := labelled(t)
	d := open(t, e)
	if running, err := d.Running(t.Context()); err != nil || len(running) != 0 {
		t.Errorf("before the start: %+v, %v", running, err)
	}
	if err := e.Client().ContainerStart(t.Context(), id, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	running, err := d.Running(t.Context())
	if err != nil || len(running) != 1 || running[0].ID != id || running[0].ImageLabels["env"] != "image" {
		t.Errorf("got %+v, %v", running, err)
	}
	names, standard, err := d.Runtimes(t.Context())
	if err != nil || standard != "runc" || names["runc"] == "" {
		t.Errorf("runtimes: %v, default %s, %v", names, standard, err)
	}
	stopped := "shop-db-2" // one that never ran counts as well
	if _, err := e.Client().ContainerCreate(t.Context(), &container.Config{Image: tag, Cmd: []string{"/probe"}}, &container.HostConfig{Runtime: "runc"}, nil, nil, stopped); err != nil {
		t.Fatal(err)
	}
	if named, err := d.CreatedWith(t.Context(), "runc"); err != nil || !slices.Equal(named, []string{"shop-db-1", stopped}) {
		t.Errorf("created with runc: %v, %v", named, err)
	}
	if named, err := d.CreatedWith(t.Context(), "quaymaster"); err != nil || len(named) != 0 {
		t.Errorf("created with quaymaster: %v, %v", named, err)
	}
}
