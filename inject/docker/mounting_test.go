package docker

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

const mountingFile = `{"ID":"` + id + `","Name":"/shop-db-1","Image":"sha256:abc","State":{"Running":true},
	"Config":{"Image":"postgres:16","User":"1000"},"MountPoints":{
	"/run/secrets":{"Type":"volume","Name":"shop","Driver":"quaymaster","ID":"4be7","RW":false},
	"/data":{"Type":"volume","Name":"data","Driver":"local"},"/etc/x":{"Type":"bind","Source":"/etc/x"}}}`

// TestMountingFromTheEnginesFiles: when the engine does not answer, all that
// mount the volume count, whatever the file says of who runs.
func TestMountingFromTheEnginesFiles(t *testing.T) {
	root, dir := engineRoot(t, mountingFile)
	if err := os.Mkdir(filepath.Join(root, "containers", "just-being-removed"), 0o700); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, "")
	e.options.DataRoot = root
	got, err := e.Mounting(t.Context(), "quaymaster", "shop")
	want := []inject.Arrival{{Container: id, User: &inject.Owner{UID: 1000}, EngineDir: dir, FilesOnly: true}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for driver, volume := range map[string]string{"quaymaster": "data", "local": "shop"} {
		if got, err := e.Mounting(t.Context(), driver, volume); err != nil || len(got) != 0 {
			t.Errorf("volume %s of %s: %+v, %v", volume, driver, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.v2.json"), []byte(`{"ID":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Mounting(t.Context(), "quaymaster", "shop"); err == nil || !strings.Contains(err.Error(), "config.v2.json") {
		t.Errorf("of a broken file: %+v, %v", got, err)
	}
	e.options.DataRoot = filepath.Join(root, "nowhere")
	if got, err := e.Mounting(t.Context(), "quaymaster", "shop"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("of files that are not there: %+v, %v", got, err)
	}
}

func TestVolumesFromTheEnginesFile(t *testing.T) {
	_, dir := engineRoot(t, mountingFile)
	c, err := readContainerFile(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	facts := c.described().Facts
	if len(facts.Volumes) != 2 || !mounts(facts, "quaymaster") || !mounts(facts, "local") || mounts(facts, "") {
		t.Errorf("got %+v", facts.Volumes)
	}
	if got := c.mountID(workload.Volume{Name: "shop", Driver: "quaymaster"}); got != "4be7" {
		t.Errorf("mounted as %q", got)
	}
}

func TestOwner(t *testing.T) {
	for user, want := range map[string]*inject.Owner{
		"": {}, "0": {}, "1000": {UID: 1000}, "1000:7": {UID: 1000, GID: 7}, "1000:staff": {UID: 1000}, ":7": {GID: 7},
		"postgres": nil, "postgres:7": nil, "root": nil, "-1": nil, "4294967296": nil,
	} {
		var c containerFile
		c.Config = new(struct {
			Image  string
			Labels map[string]string
			User   string
		})
		c.Config.User = user
		if got := c.owner(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v", user, got, want)
		}
	}
}

// TestRemapOfAContainer: one that opted out shares the host's users; where the
// file does not say, it has what the engine gives to all.
func TestRemapOfAContainer(t *testing.T) {
	root, dir := engineRoot(t, mountingFile)
	p := place{root: root, remap: &inject.Owner{UID: 1 << 31, GID: 1<<31 + 1}}
	for content, remapped := range map[string]bool{`{"UsernsMode":""}`: true, `{"UsernsMode":"host"}`: false, `{`: true} {
		if err := os.WriteFile(filepath.Join(dir, "hostconfig.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := p.arrival(id)
		if (err != nil) != (content == "{") || (len(a.UIDMap) == 1) != remapped || (len(a.GIDMap) == 1) != remapped {
			t.Errorf("%s: got %+v, %v", content, a, err)
		}
		if remapped && (a.UIDMap[0].Host != 1<<31 || a.GIDMap[0].Host != 1<<31+1) {
			t.Errorf("%s: got %+v", content, a)
		}
	}
}

func TestUnescape(t *testing.T) {
	for path, want := range map[string]string{
		"/plain": "/plain", `/a\040b\134c`: `/a b\c`, `/end\04`: `/end\04`, `/not\999`: `/not\999`, `/x\011`: "/x\t",
	} {
		if got := unescape(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}
