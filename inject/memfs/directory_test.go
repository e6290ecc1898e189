package memfs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
)

// certificate is a set of three files in one directory, all of one content.
func certificate(content string) []inject.File {
	return []inject.File{file("timeline/tls.crt", content), file("timeline/tls.key", content), file("timeline/ca.crt", content)}
}

// walked is what a container sees, with directories: paths and contents.
func walked(t *testing.T, tree string) string {
	t.Helper()
	var seen []string
	for _, pattern := range []string{"[^.]*", "[^.]*/*"} {
		paths, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err != nil || info.IsDir() {
				continue
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, strings.TrimPrefix(path, tree+"/")+"="+string(content))
		}
	}
	return strings.Join(seen, " ")
}

func TestDirectoriesComeAndGo(t *testing.T) {
	trees := open(t, memory(t))
	path, err := trees.Create(container, me(), append(certificate("1"), file("password", "p")))
	if err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(filepath.Join(path, "timeline")); err != nil || target != "..data/timeline" {
		t.Errorf("the directory is reached through %q, %v", target, err)
	}
	for _, step := range []struct {
		name    string
		files   []inject.File
		changed bool
		want    string
	}{
		{"the same set, in another order", append([]inject.File{file("password", "p")}, certificate("1")...), false,
			"password=p timeline/ca.crt=1 timeline/tls.crt=1 timeline/tls.key=1"},
		{"another content", append(certificate("2"), file("password", "p")), true,
			"password=p timeline/ca.crt=2 timeline/tls.crt=2 timeline/tls.key=2"},
		{"a file of the directory less", append(certificate("2")[:2], file("password", "p")), true,
			"password=p timeline/tls.crt=2 timeline/tls.key=2"},
		{"a second directory", append(certificate("2"), file("other/a", "x")), true,
			"other/a=x timeline/ca.crt=2 timeline/tls.crt=2 timeline/tls.key=2"},
		{"a file where a directory was", []inject.File{file("timeline", "t"), file("other/a", "x")}, true, "timeline=t other/a=x"},
		{"a directory where a file was", certificate("3"), true, "timeline/ca.crt=3 timeline/tls.crt=3 timeline/tls.key=3"},
		{"nothing", nil, true, ""},
	} {
		changed, err := trees.Swap(container, step.files)
		if err != nil || changed != step.changed {
			t.Errorf("%s: changed %v, %v", step.name, changed, err)
		}
		if got := walked(t, path); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(path, "[^.]*")); len(left) != 0 {
		t.Errorf("links of what is no more: %v", left)
	}
}

func TestNamesThatCannotStandTogether(t *testing.T) {
	trees := open(t, memory(t))
	for want, files := range map[string][]inject.File{
		`"a" cannot be a file and a directory`:      {file("a", "x"), file("a/b", "y")},
		`two files of one tree are called "a/b"`:    {file("a/b", "x"), file("a/b", "y")},
		`"a/b/c" cannot be the name of a file in a`: {file("a/b/c", "x")},
	} {
		if _, err := trees.Create(container, me(), files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestModeOfADirectoryIsThatOfItsFiles(t *testing.T) {
	trees := open(t, memory(t))
	path, err := trees.Create(container, me(), []inject.File{
		{Name: "open/a", Mode: 0o444, Value: secret.NewValue([]byte("x"))},
		{Name: "closed/b", Mode: 0o400, Value: secret.NewValue([]byte("x"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]fs.FileMode{"": 0o755, "..data": 0o755, "open": 0o755, "closed": 0o700} {
		if info, err := os.Stat(filepath.Join(path, dir)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has %v, %v; want %o", dir, info.Mode(), err, want)
		}
	}
}

func TestRemoveOverwritesInDirectories(t *testing.T) {
	trees := open(t, memory(t))
	path, err := trees.Create(container, me(), certificate("plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(filepath.Join(path, "timeline", "tls.key"))
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

// TestReadersOfADirectoryNeverSeeAMixture: who opens the directory once reads
// three files that belong together, or finds that the generation is gone.
func TestReadersOfADirectoryNeverSeeAMixture(t *testing.T) {
	trees := open(t, memory(t))
	path, err := trees.Create(container, me(), certificate("0"))
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var whole atomic.Int64
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !done.Load() {
				set, err := readDirectory(filepath.Join(path, "timeline"))
				if err != nil { // pruned while it was read: begin again
					continue
				}
				if set[0] != set[1] || set[1] != set[2] {
					t.Errorf("a mixture: %q", set)
					return
				}
				whole.Add(1)
			}
		})
	}
	for n := 1; n <= 10_000; n++ {
		if _, err := trees.Swap(container, certificate(fmt.Sprint(n))); err != nil {
			t.Error(err)
			break
		}
	}
	done.Store(true)
	readers.Wait()
	if whole.Load() < 1000 {
		t.Errorf("only %d sets were read during 10,000 swaps: that shows nothing", whole.Load())
	}
}

func readDirectory(dir string) (set [3]string, err error) {
	held, err := os.OpenRoot(dir)
	if err != nil {
		return set, err
	}
	defer held.Close()
	for i, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		content, err := held.ReadFile(name)
		if err != nil {
			return set, err
		}
		set[i] = string(content)
	}
	return set, nil
}

// FuzzNames: a name is refused, or one file is there that the container finds
// under that name, and nothing anywhere else.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"password", "timeline/tls.crt", "a/b/c", "../x", "a/..", "..data/x", ".hidden", "a\x00b", "/", "é/ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		dir := memory(t)
		trees, err := memfs.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer trees.Close()
		path, err := trees.Create(container, me(), []inject.File{file(name, "x")})
		entries, _ := os.ReadDir(dir)
		if err != nil {
			if len(entries) != 0 {
				t.Fatalf("%q is refused and leaves %v", name, entries)
			}
			return
		}
		if len(entries) != 1 || strings.Count(name, "/") > 1 {
			t.Fatalf("%q: %v", name, entries)
		}
		if content, err := os.ReadFile(path + "/" + name); err != nil || string(content) != "x" {
			t.Fatalf("%q holds %q, %v", name, content, err)
		}
		if changed, err := trees.Swap(container, []inject.File{file(name, "x")}); err != nil || changed {
			t.Fatalf("%q: the same set: changed %v, %v", name, changed, err)
		}
	})
}
