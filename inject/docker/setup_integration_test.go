//go:build integration

package docker_test

import (
	"log/slog"
	"testing"

	"github.com/quaymaster/quaymaster/inject/docker"
	"github.com/quaymaster/quaymaster/test/engine"
)

// TestSetup: what the engine was told is what it says, and where it keeps what
// it starts containers with is seen although it does not say it.
func TestSetup(t *testing.T) {
	e := engine.ForTest(t, engine.Options{LiveRestore: true})
	d, err := docker.New(docker.Options{Host: e.Host(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	got, err := d.Setup(t.Context())
	if err != nil || !got.LiveRestore || got.UsernsRemap || got.Swarm || got.DefaultRuntime != "runc" || got.Runtimes["runc"] == "" || got.Version == "" || got.API == "" {
		t.Errorf("%+v, %v", got, err)
	}
	dir, err := d.ExecRoot(t.Context())
	if err != nil || dir != e.ExecRoot() {
		t.Errorf("exec-root %q, %v", dir, err)
	}
}
