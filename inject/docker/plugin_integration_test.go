//go:build integration

package docker_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/quaymaster/quaymaster/test/engine"
)

// plugin is a volume driver whose every Mount is held until the test lets it
// go, as the volume gate does.
type plugin struct {
	name string
	dir  string
	held chan held
	done chan struct{} // closed when nothing is held any more

	mu      sync.Mutex
	volumes map[string]bool
}

// held is one Mount that the engine waits for. It ends with an error that the
// engine shows, or with none.
type held struct {
	volume, id string
	answer     chan error
}

// newPlugin serves a driver of a name that no other test has: the directory of
// the sockets is the machine's.
func newPlugin(t *testing.T) *plugin {
	t.Helper()
	const sockets = "/run/docker/plugins"
	if err := os.MkdirAll(sockets, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/run", "quaymaster-plugin-")
	if err != nil {
		t.Fatal(err)
	}
	p := &plugin{name: filepath.Base(dir), dir: dir, held: make(chan held), done: make(chan struct{}), volumes: map[string]bool{}}
	listener, err := net.Listen("unix", filepath.Join(sockets, p.name+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		p.letAllGo()
		if err := errors.Join(server.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return p
}

// driven is an engine with such a driver. The driver outlives it: an engine
// that stops has it unmount what it mounted.
func driven(t *testing.T, o engine.Options) (*engine.Engine, *plugin) {
	t.Helper()
	p := newPlugin(t)
	e := withProbe(t, o)
	t.Cleanup(p.letAllGo) // or the engine would wait for what a failed test holds
	return e, p
}

func (p *plugin) letAllGo() {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
}

func (p *plugin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct{ Name, ID string }
	_ = json.NewDecoder(r.Body).Decode(&request) // Activate has no body
	w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.1+json")
	_ = json.NewEncoder(w).Encode(p.answer(r.URL.Path, request.Name, request.ID))
}

func (p *plugin) answer(path, volume, id string) any {
	p.mu.Lock()
	known := p.volumes[volume]
	p.volumes[volume] = known || path == "/VolumeDriver.Create"
	p.mu.Unlock()
	switch path {
	case "/Plugin.Activate":
		return map[string]any{"Implements": []string{"VolumeDriver"}}
	case "/VolumeDriver.Get":
		if !known {
			return map[string]any{"Err": "no such volume"}
		}
		return map[string]any{"Volume": map[string]any{"Name": volume}}
	case "/VolumeDriver.Capabilities":
		return map[string]any{"Capabilities": map[string]any{"Scope": "local"}}
	case "/VolumeDriver.Mount":
		return p.mount(volume, id)
	}
	return map[string]any{}
}

func (p *plugin) mount(volume, id string) any {
	tree := filepath.Join(p.dir, id)
	err := os.MkdirAll(tree, 0o755)
	h := held{volume: volume, id: id, answer: make(chan error, 1)}
	select {
	case p.held <- h:
		select {
		case refused := <-h.answer:
			err = errors.Join(err, refused)
		case <-p.done:
		}
	case <-p.done:
	}
	if err != nil {
		return map[string]any{"Err": err.Error()}
	}
	return map[string]any{"Mountpoint": tree}
}

// next waits until the engine waits for a Mount.
func (p *plugin) next(t *testing.T) held {
	t.Helper()
	select {
	case h := <-p.held:
		return h
	case <-time.After(time.Minute):
		t.Fatal("the engine mounts nothing")
		return held{}
	}
}

// mounting is a container's wish for one of the driver's volumes.
func (p *plugin) mounting(volume string) *container.HostConfig {
	return &container.HostConfig{Mounts: []mount.Mount{{
		Type: mount.TypeVolume, Source: volume, Target: "/run/secrets", ReadOnly: true,
		VolumeOptions: &mount.VolumeOptions{NoCopy: true, DriverConfig: &mount.Driver{Name: p.name}},
	}}}
}
