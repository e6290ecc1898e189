//go:build integration

package attach

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/engine"
)

// TestHook runs containers with a createRuntime hook that calls AttachAt, on
// the real runc: the first instruction reads the tree.
func TestHook(t *testing.T) {
	tree := newTree(t)
	canary := t.TempDir()
	tmpfs := map[string]any{"destination": "/run", "type": "tmpfs", "source": "tmpfs"}
	for name, c := range map[string]struct {
		prepare func(root string) error
		mounts  []any
		says    string // empty: it starts and reads
	}{
		"nothing there":    {},
		"tmpfs above":      {mounts: []any{tmpfs}},
		"placeholder":      {mounts: []any{bind(placeholder(t, tree), target)}},
		"a link":           {prepare: func(root string) error { return link(canary, root+"/run/secrets") }, says: "/run/secrets is a symbolic link"},
		"a link above":     {prepare: func(root string) error { return link(canary, root+"/run") }, says: "/run is a symbolic link"},
		"a file":           {prepare: func(root string) error { return file(root + "/run/secrets") }, says: "/run/secrets is something else"},
		"a FIFO":           {prepare: func(root string) error { return fifo(root + "/run/secrets") }, says: "/run/secrets is something else"},
		"a bind":           {mounts: []any{bind(canary, target)}, says: "something is mounted at /run/secrets already"},
		"a bind above":     {mounts: []any{bind(canary, "/run")}, says: "nothing is made in what is mounted there"},
		"host's tmpfs too": {mounts: []any{bind(filepath.Dir(tree), "/run")}, says: "nothing is made in what is mounted there"},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := newBundle(t, tree, c.mounts)
			if c.prepare != nil {
				if err := c.prepare(bundle + "/rootfs"); err != nil {
					t.Fatal(err)
				}
			}
			before := listing(t, canary)
			out, err := exec.CommandContext(t.Context(), "runc", "--root", bundle+"/state", "run", "--bundle", bundle, filepath.Base(filepath.Dir(bundle))).CombinedOutput()
			if c.says == "" && (err != nil || string(out) != "ours") {
				t.Errorf("it reads %q, %v", out, err)
			}
			if c.says != "" && (err == nil || !strings.Contains(string(out), c.says) || strings.Contains(string(out), "ours")) {
				t.Errorf("%v: %s", err, out)
			}
			if after := listing(t, canary); after != before {
				t.Errorf("the host was\n%s\nand is\n%s", before, after)
			}
			if n := attached(t, "self", tree); n != 0 {
				t.Errorf("the tree is mounted %d times on the host", n)
			}
		})
	}
}

func link(to, at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.Symlink(to, at)
}

func file(at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o644)
}

func fifo(at string) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return unix.Mkfifo(at, 0o666)
}

func bind(source, at string) map[string]any {
	return map[string]any{"destination": at, "type": "bind", "source": source, "options": []string{"rbind"}}
}

// placeholder is an empty directory beside the trees.
func placeholder(t *testing.T, tree string) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(tree), "placeholder")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newBundle makes a bundle of busybox, which reads the secret, with this test's
// own program as its hook.
func newBundle(t *testing.T, tree string, mounts []any) string {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle")
	root := bundle + "/rootfs"
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	tarball, err := engine.BusyboxTar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", root)
	unpack.Stdin = strings.NewReader(string(tarball))
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	spec := exec.CommandContext(t.Context(), "runc", "spec")
	spec.Dir = bundle
	if out, err := spec.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(bundle + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := config["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"/bin/cat", target + "/password"}
	config["root"].(map[string]any)["readonly"] = false
	config["mounts"] = append(config["mounts"].([]any), mounts...)
	config["hooks"] = map[string]any{"createRuntime": []any{map[string]any{"path": self, "env": []string{hookVariable + "=" + tree}}}}
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bundle+"/config.json", text, 0o600); err != nil {
		t.Fatal(err)
	}
	return bundle
}
