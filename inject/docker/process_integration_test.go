//go:build integration

package docker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/test/engine"
)

// TestProcess describes containers by their first process: by name, ID or the
// beginning of one; as the user that they were given; with what they mount.
func TestProcess(t *testing.T) {
	e := withProbe(t, engine.Options{})
	d := open(t, e)
	host := &container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: t.TempDir(), Target: "/a b"}}}
	plain, other := hold(t, e, "plain", "", host), hold(t, e, "other", "1000:7", nil)
	if _, err := d.Process(t.Context(), "plain"); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("of a container that does not run: %v", err)
	}
	if _, err := d.Process(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("of a container that is not there: %v", err)
	}
	for _, id := range []string{plain, other} {
		if err := d.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]struct {
		id   string
		user inject.Owner
	}{"plain": {plain, inject.Owner{}}, other: {other, inject.Owner{UID: 1000, GID: 7}}, other[:12]: {other, inject.Owner{UID: 1000, GID: 7}}} {
		got, err := d.Process(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		inspected, err := e.Client().ContainerInspect(t.Context(), want.id)
		if err != nil {
			t.Fatal(err)
		}
		if got.Container != want.id || got.PID != inspected.State.Pid || *got.User != want.user || !got.FilesOnly ||
			len(got.UIDMap)+len(got.GIDMap) != 0 || !slices.Contains(got.Mounts, "/proc") {
			t.Errorf("%s: got %+v", name, got)
		}
		if slices.Contains(got.Mounts, "/a b") != (want.id == plain) {
			t.Errorf("%s mounts %q", name, got.Mounts)
		}
	}
}
