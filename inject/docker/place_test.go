package docker

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/quaymaster/quaymaster/inject"
)

func TestPlace(t *testing.T) {
	mounted := t.TempDir() // the data root, as an agent in a container sees it
	remapped := inject.Owner{UID: 231072, GID: 231073}
	never := filepath.Join(t.TempDir(), "never-said")
	if err := os.MkdirAll(filepath.Join(never, "231072.231073", "containers"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		configured string
		said       about
		want       place
	}{
		"nobody says anything": {"", about{}, place{root: standardDataRoot}},
		"said":                 {"", about{DataRoot: "/srv/docker"}, place{root: "/srv/docker"}},
		"said and configured":  {mounted, about{DataRoot: "/srv/docker"}, place{root: mounted}},
		"remapped":             {"", about{DataRoot: "/srv/231072.231073", Remapped: true}, place{"/srv/231072.231073", &remapped}},
		"only called so":       {"", about{DataRoot: "/srv/1.2"}, place{root: "/srv/1.2"}},
		"remapped, configured": {mounted, about{DataRoot: "/srv/231072.231073", Remapped: true},
			place{filepath.Join(mounted, "231072.231073"), &remapped}},
		"never said, remapped": {never, about{}, place{filepath.Join(never, "231072.231073"), &remapped}},
	} {
		e := newEngine(t, "")
		e.options.DataRoot, e.about = c.configured, c.said
		if got := e.place(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

// TestIDMap: a user's ranges follow each other in the namespace by their begin.
func TestIDMap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	content := "# comment\nadmin:100000:65536\ndockremap:500000:1000\ndockremap:231072:65536\nbroken:x:1\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for root, want := range map[uint32][]inject.IDMap{
		231072: {{Container: 0, Host: 231072, Size: 65536}, {Container: 65536, Host: 500000, Size: 1000}},
		100000: {{Container: 0, Host: 100000, Size: 65536}},
		500000: {{Container: 0, Host: 500000, Size: standardRange}}, // of nobody: no user's first
	} {
		if got := idMap(file, root); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: got %v, want %v", root, got, want)
		}
	}
	if got := idMap(file+".gone", 7); !reflect.DeepEqual(got, []inject.IDMap{{Host: 7, Size: standardRange}}) {
		t.Errorf("without a file: %v", got)
	}
}
