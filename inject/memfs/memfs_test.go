package memfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
)

const container = "3f2a0c55d1"

// memory is a directory on the machine's own shared memory, which every user
// may write to.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "quaymaster-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func open(t *testing.T, dir string) *memfs.FS {
	t.Helper()
	trees, err := memfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trees.Close() })
	return trees
}

func me() inject.Owner { return inject.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())} }

func file(name, content string) inject.File {
	return inject.File{Name: name, Mode: 0o400, Value: secret.NewValue([]byte(content))}
}

// seen is what a container sees: names and contents.
func seen(t *testing.T, tree string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(tree, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[entry.Name()] = string(content)
	}
	return out
}

func TestCreateSwapPruneRemove(t *testing.T) {
	dir := memory(t)
	trees := open(t, dir)
	path, err := trees.Create(container, me(), []inject.File{file("user", "shop"), file("password", "one")})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, container); path != want {
		t.Errorf("the tree is at %s, not %s", path, want)
	}
	if got := fmt.Sprint(seen(t, path)); got != "map[password:one user:shop]" {
		t.Errorf("after Create: %s", got)
	}
	info, err := os.Stat(filepath.Join(path, "password"))
	if err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	changed, err := trees.Swap(container, []inject.File{file("user", "shop"), file("password", "one")})
	if err != nil || changed {
		t.Errorf("the same set: changed %v, %v", changed, err)
	}
	held, err := os.Open(filepath.Join(path, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	changed, err = trees.Swap(container, []inject.File{file("password", "two"), file("pin", "42")})
	if err != nil || !changed {
		t.Errorf("another set: changed %v, %v", changed, err)
	}
	if got := fmt.Sprint(seen(t, path)); got != "map[password:two pin:42]" {
		t.Errorf("after Swap: %s", got)
	}
	old, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/password", held.Fd()))
	if err != nil || string(old) != "one" {
		t.Errorf("who began with the old set reads %q, %v", old, err)
	}
	if err := trees.Prune(container); err != nil {
		t.Fatal(err)
	}
	if generations, _ := filepath.Glob(filepath.Join(path, "..[0-9]*")); len(generations) != 1 {
		t.Errorf("after Prune: %v", generations)
	}
	if list, err := trees.List(); err != nil || !slices.Equal(list, []string{container}) {
		t.Errorf("List: %v, %v", list, err)
	}
	for range 2 {
		if err := trees.Remove(container); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("after Remove: %v", left)
	}
	if err := trees.Prune(container); err != nil {
		t.Errorf("Prune of what is gone: %v", err)
	}
	if _, err := trees.Swap(container, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Swap of what is gone: %v", err)
	}
}

func TestRemoveOverwrites(t *testing.T) {
	trees := open(t, memory(t))
	path, err := trees.Create(container, me(), []inject.File{file("password", "plaintext")})
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(filepath.Join(path, "password"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := trees.Remove(container); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 9)
	if _, err := held.ReadAt(content, 0); err != nil || string(content) != strings.Repeat("\x00", 9) {
		t.Errorf("after Remove the file holds %q, %v", content, err)
	}
}

func TestCreateReplacesAnEarlierTree(t *testing.T) {
	trees := open(t, memory(t))
	for _, content := range []string{"one", "two"} {
		path, err := trees.Create(container, me(), []inject.File{file("password", content)})
		if err != nil {
			t.Fatal(err)
		}
		if got := seen(t, path)["password"]; got != content {
			t.Errorf("got %q, want %q", got, content)
		}
	}
}

func TestModesOpenDirectoriesForReaders(t *testing.T) {
	trees := open(t, memory(t))
	for mode, want := range map[fs.FileMode]fs.FileMode{0o400: 0o700, 0o440: 0o750, 0o444: 0o755, 0o404: 0o705} {
		path, err := trees.Create(container, me(), []inject.File{{Name: "a", Mode: mode, Value: secret.NewValue([]byte("x"))}})
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{path, filepath.Join(path, "..data")} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
				t.Errorf("file mode %o: %s has %v, %v; want %o", mode, dir, info.Mode().Perm(), err, want)
			}
		}
	}
}

func TestOpenRemovesWhatWasLeftHalfMade(t *testing.T) {
	dir := memory(t)
	path, err := open(t, dir).Create(container, me(), []inject.File{file("password", "one")})
	if err != nil {
		t.Fatal(err)
	}
	for _, half := range []string{".unfinished-" + container, ".unfinished-gone-" + container} {
		if err := os.MkdirAll(filepath.Join(dir, half, "..1"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Killed in the middle of a swap: the generation is written, the link is not renamed.
	if err := os.Mkdir(filepath.Join(path, "..2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2", filepath.Join(path, "..data.new")); err != nil {
		t.Fatal(err)
	}
	trees := open(t, dir)
	if got := fmt.Sprint(seen(t, path)); got != "map[password:one]" {
		t.Errorf("the live tree: %s", got)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left over: %v", left)
	}
	if _, err := trees.Swap(container, []inject.File{file("password", "two")}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(seen(t, path)); got != "map[password:two]" {
		t.Errorf("after the next swap: %s", got)
	}
}

func TestNamesCannotLeadOutside(t *testing.T) {
	trees := open(t, memory(t))
	for _, id := range []string{"", "..", "a/b", "../x", ".unfinished-a", "a b", strings.Repeat("a", 129)} {
		if _, err := trees.Create(id, me(), nil); err == nil {
			t.Errorf("container %q is accepted", id)
		}
		if err := trees.Remove(id); err == nil {
			t.Errorf("removing container %q is accepted", id)
		}
	}
	for _, name := range []string{"", ".", "..", "..data", "a\x00b", "/a", "a/", "a/b/c", "a//b", "a/..", "../a", "a/.", "a/..data"} {
		if _, err := trees.Create(container, me(), []inject.File{file(name, "x")}); err == nil {
			t.Errorf("file name %q is accepted", name)
		}
	}
	if list, _ := trees.List(); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

func TestADiskIsRefused(t *testing.T) {
	if _, err := memfs.Open("/usr"); !errors.Is(err, memfs.ErrNotMemory) {
		t.Errorf("got %v", err)
	}
}

// TestReadersNeverSeeAMixture: two files of one set always belong together,
// however often the set is swapped under its readers.
func TestReadersNeverSeeAMixture(t *testing.T) {
	trees := open(t, memory(t))
	set := func(n int) []inject.File {
		return []inject.File{file("cert", fmt.Sprint(n)), file("key", fmt.Sprint(n))}
	}
	path, err := trees.Create(container, me(), set(0))
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				cert, key, err := readSet(path)
				if err == nil && cert != key {
					t.Errorf("cert %s with key %s", cert, key)
					return
				}
			}
		})
	}
	for n := 1; n <= 500; n++ {
		if _, err := trees.Swap(container, set(n)); err != nil {
			t.Error(err)
			break
		}
	}
	done.Store(true)
	readers.Wait()
}

// readSet reads a set as a careful reader does: it opens the generation once.
func readSet(tree string) (cert, key string, err error) {
	generation, err := os.OpenRoot(filepath.Join(tree, "..data"))
	if err != nil {
		return "", "", err
	}
	defer generation.Close()
	first, err := generation.ReadFile("cert")
	if err != nil {
		return "", "", err
	}
	second, err := generation.ReadFile("key")
	return string(first), string(second), err
}
