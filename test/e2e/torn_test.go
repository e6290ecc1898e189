//go:build integration

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
	"github.com/quaymaster/quaymaster/test/engine"
)

// The set that is read while it changes: three files, of one page, of two and
// a little, and of many.
var setSizes = map[string]int{"cert": 256, "key": 9 << 10, "ca": 96 << 10}

// setFile is the content of one file of the n-th set, as the reader knows it:
// the number of the set, in lines of sixteen bytes.
func setFile(name string, n int) string {
	return strings.Repeat(fmt.Sprintf("%015d\n", n), setSizes[name]/16)
}

// readers are containers that read a set again and again.
type readers []string

// startReaders starts n containers that all run the reader and are otherwise
// as the caller says.
func startReaders(t *testing.T, n int, labels map[string]string, host *container.HostConfig) (out readers) {
	t.Helper()
	program, err := engine.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: program, Target: "/reader", ReadOnly: true})
	host.NetworkMode = "none"
	for range n {
		config := &container.Config{Image: engine.ProbeImage, Cmd: []string{"/reader", "/run/secrets", "cert", "key", "ca"}, Labels: labels}
		id, err := h.Engine.Launch(t.Context(), config, host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, h, id) })
		out = append(out, id)
	}
	return out
}

// judge ends the readers and fails the test if one of them read a mixture, or
// half a file, or saw fewer than atLeast sets and so was no witness.
func (r readers) judge(t *testing.T, atLeast int) {
	t.Helper()
	var reads, restarts int
	for _, id := range r {
		if err := h.Engine.Client().ContainerStop(t.Context(), id, container.StopOptions{}); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, err := h.Engine.Logs(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var n, sets, again, mixtures, broken int
		if _, err := fmt.Sscanf(string(stdout), "reads %d sets %d again %d mixtures %d broken %d", &n, &sets, &again, &mixtures, &broken); err != nil {
			t.Fatalf("a reader ended with %q, %q: %v", stdout, stderr, err)
		}
		if mixtures != 0 || broken != 0 {
			t.Errorf("of %d sets a reader saw %d mixtures and %d files that were not whole", n, mixtures, broken)
		}
		if sets < atLeast {
			t.Errorf("a reader saw %d sets, too few to be a witness", sets)
		}
		reads, restarts = reads+n, restarts+again
	}
	t.Logf("%d containers read %d sets, and began again %d times", len(r), reads, restarts)
}

// TestNoTornReadInTenThousandSwaps swaps a tree that twenty containers have
// mounted, as the gate mounts it. It drives the trees themselves and not the
// agent, which would take a second for each: what it tries is the swap.
func TestNoTornReadInTenThousandSwaps(t *testing.T) {
	const swaps = 10_000
	dir := filepath.Join(t.TempDir(), "memory")
	if err := memfs.Mount(dir, memfs.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the containers that hold it are gone
		if err := memfs.Unmount(dir); err != nil {
			t.Error(err)
		}
	})
	trees, err := memfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer trees.Close()
	set := func(n int) (files []inject.File) {
		for name := range setSizes {
			files = append(files, inject.File{Name: name, Mode: 0o400, Value: secret.NewValue([]byte(setFile(name, n)))})
		}
		return files
	}
	const tree = "torn"
	path, err := trees.Create(tree, inject.Owner{}, set(0))
	if err != nil {
		t.Fatal(err)
	}
	reading := startReaders(t, 20, nil, &container.HostConfig{
		Mounts: []mount.Mount{{Type: mount.TypeBind, Source: path, Target: "/run/secrets", ReadOnly: true}}})
	for n := 1; n <= swaps; n++ {
		if changed, err := trees.Swap(tree, set(n)); err != nil || !changed {
			t.Fatalf("swap %d: changed: %v, %v", n, changed, err)
		}
	}
	reading.judge(t, 10)
}

// TestNoTornReadThroughTheAgent is the same through the whole way, for as many
// rotations as a test has time for: each of twenty containers has its own tree.
func TestNoTornReadThroughTheAgent(t *testing.T) {
	const rotations = 20
	put := func(n int) {
		t.Helper()
		fields := map[string]any{}
		for name := range setSizes {
			fields[name] = setFile(name, n)
		}
		if err := h.Vault.PutSecret(soon(t), "kv", "shop/torn", fields); err != nil {
			t.Fatal(err)
		}
	}
	put(0)
	reading := startReaders(t, 20, labels("quaymaster.secret.cert", "vault:kv/shop/torn#cert",
		"quaymaster.secret.key", "vault:kv/shop/torn#key", "quaymaster.secret.ca", "vault:kv/shop/torn#ca"), gated())
	for n := 1; n <= rotations; n++ {
		put(n)
		await(t, h, fmt.Sprintf("set %d in all trees", n), func() bool {
			for _, id := range reading {
				if content, err := os.ReadFile(filepath.Join(h.Trees(), id, "cert")); err != nil || string(content) != setFile("cert", n) {
					return false
				}
			}
			return true
		})
	}
	reading.judge(t, rotations)
}
