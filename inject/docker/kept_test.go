package docker

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/workload"
)

func newEngine(t *testing.T, state string) *Engine {
	t.Helper()
	e, err := New(Options{Host: "unix:///nowhere/docker.sock", State: state, Driver: "quaymaster", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestKeptForTheNextBoot: what one agent learnt is known to the next, while the
// engine does not answer; what no container uses any more is not kept.
func TestKeptForTheNextBoot(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	first := newEngine(t, state)
	first.about = about{Host: first.options.Host, DataRoot: "/srv/docker"}
	for _, image := range []string{"sha256:used", "sha256:unused"} {
		first.remember(workload.Facts{ID: "of " + image, ImageLabels: map[string]string{"vendor": image}}, imageRef{id: image})
	}
	first.forgetAllBut(map[string]string{"of sha256:used": "sha256:used"})
	first.keep()
	info, err := os.Stat(filepath.Join(state, keptFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("got %v, %v", info, err)
	}

	next := newEngine(t, state)
	if next.about != first.about || next.place().root != "/srv/docker" {
		t.Errorf("got %+v", next.about)
	}
	if want := map[string]map[string]string{"sha256:used": {"vendor": "sha256:used"}}; !reflect.DeepEqual(next.images, want) {
		t.Errorf("got %v, want %v", next.images, want)
	}
	labels, err := next.imageLabels(t.Context(), imageRef{id: "sha256:used"})
	if err != nil || labels["vendor"] != "sha256:used" {
		t.Errorf("got %v, %v", labels, err)
	}

	elsewhere, err := New(Options{Host: "unix:///elsewhere.sock", State: state, Log: slog.New(slog.DiscardHandler)})
	if err != nil || elsewhere.about != (about{}) {
		t.Errorf("another engine is taken for this one: %+v, %v", elsewhere.about, err)
	}
}

// TestKeptIsOnlyBelievedWhenNobodyElseWroteIt: an image's own labels would pass
// for a container's.
func TestKeptIsOnlyBelievedWhenNobodyElseWroteIt(t *testing.T) {
	state := t.TempDir()
	path := filepath.Join(state, keptFile)
	if err := (store{state}).write(kept{Images: map[string]map[string]string{"sha256:a": {}}}); err != nil {
		t.Fatal(err)
	}
	if k, err := (store{state}).read(); err != nil || len(k.Images) != 1 {
		t.Fatalf("got %+v, %v", k, err)
	}
	if err := os.Chmod(path, 0o622); err != nil {
		t.Fatal(err)
	}
	if _, err := (store{state}).read(); err == nil || !strings.Contains(err.Error(), "by others than the agent") {
		t.Errorf("a file that all may write: %v", err)
	}
	if e := newEngine(t, state); len(e.images) != 0 {
		t.Errorf("it is used all the same: %v", e.images)
	}
	if err := os.Rename(path, path+".real"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path+".real", path); err != nil {
		t.Fatal(err)
	}
	if _, err := (store{state}).read(); err == nil {
		t.Error("a link is followed")
	}
	if err := (store{state}).write(kept{}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		t.Errorf("got %v, %v: the link was not replaced", info, err)
	}
}

func TestKeptIsBounded(t *testing.T) {
	k := kept{Images: map[string]map[string]string{
		"sha256:small": {"a": "b"},
		"sha256:large": {"a": strings.Repeat("x", maxKeptLabels)},
	}}
	if got := k.bounded().Images; len(got) != 1 || got["sha256:small"]["a"] != "b" {
		t.Errorf("got %d images", len(got))
	}
	for i := range maxKeptImages {
		k.Images[string(rune('a'+i%26))+strings.Repeat("y", i)] = map[string]string{"a": strings.Repeat("\x00", 40<<10)}
	}
	state := t.TempDir()
	if err := (store{state}).write(k.bounded()); err != nil {
		t.Fatal(err)
	}
	if got, err := (store{state}).read(); err != nil || len(got.Images) == 0 || len(got.Images) > maxKeptImages {
		t.Errorf("what was kept cannot be read again: %d images, %v", len(got.Images), err)
	}
}
