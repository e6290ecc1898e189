package daemonjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a file, whatever the umask is.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
	must(t, os.Chmod(path, mode))
}

// apply reads path, plans and applies, and says whether anything changed.
func apply(t *testing.T, path string, plan func(*File, Change) (*Plan, error), change Change) bool {
	t.Helper()
	f, err := Read(path)
	must(t, err)
	p, err := plan(f, change)
	must(t, err)
	must(t, p.Apply())
	return p.Changes()
}

// wantFiles compares what is in dir: name → content.
func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		must(t, err)
		if wanted, expected := want[entry.Name()]; !expected || wanted != string(text) {
			t.Errorf("%s has %q, want %q (expected: %v)", entry.Name(), text, wanted, expected)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%d files, want %d", len(entries), len(want))
	}
}

const (
	original = `{"debug": true, "default-runtime": "runc"}`
	changed  = `{"debug": true, "default-runtime": "quaymaster", "runtimes": {"quaymaster": {"path": "/usr/bin/quaymaster-runtime"}}}`
)

func TestInstallAndUndoOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "daemon.json")
	write(t, path, original, 0o640)

	if !apply(t, path, (*File).Install, with(true)) || apply(t, path, (*File).Install, with(true)) {
		t.Error("the first install changes the file, the second does not")
	}
	wantFiles(t, dir, map[string]string{"daemon.json": changed, "daemon.json.quaymaster-backup": original})
	for _, name := range []string{path, path + ".quaymaster-backup"} {
		if info, err := os.Stat(name); err != nil || info.Mode() != 0o640 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}

	if !apply(t, path, (*File).Undo, gate) || apply(t, path, (*File).Undo, gate) {
		t.Error("the first undo changes the file, the second does not")
	}
	wantFiles(t, dir, map[string]string{"daemon.json": original, "daemon.json.quaymaster-backup": original,
		"daemon.json.quaymaster-backup.2": changed})
}

func TestBackupsAreNeverOverwritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "daemon.json")
	write(t, path, "{}", 0o644)
	write(t, path+".quaymaster-backup", "of an earlier time", 0o600)
	apply(t, path, (*File).Install, gate)
	installed, err := os.ReadFile(path)
	must(t, err)
	wantFiles(t, dir, map[string]string{"daemon.json": string(installed),
		"daemon.json.quaymaster-backup": "of an earlier time", "daemon.json.quaymaster-backup.2": "{}"})
	apply(t, path, (*File).Undo, gate)
	if text, err := os.ReadFile(path); err != nil || string(text) != "{}" {
		t.Errorf("after undo: %q, %v", text, err)
	}
}

func TestFileThatWasNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "docker", "daemon.json")
	if apply(t, path, (*File).Undo, gate) {
		t.Error("undo of nothing changes something")
	}
	f, err := Read(path)
	must(t, err)
	plan, err := f.Install(with(true))
	must(t, err)
	if want := fmt.Sprintf("--- %s\n+++ %s (after the change)\n@@ -0,0 +1,8 @@\n+{\n+  \"runtimes\": {\n", path, path); !strings.HasPrefix(plan.Diff(), want) {
		t.Errorf("diff:\n%s", plan.Diff())
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a plan has an effect: %v", err)
	}
	must(t, plan.Apply())
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	apply(t, path, (*File).Undo, gate)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestLinkStaysALink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "etc", "daemon.json")
	must(t, os.Mkdir(real, 0o755))
	must(t, os.Mkdir(filepath.Dir(link), 0o755))
	write(t, filepath.Join(real, "d.json"), original, 0o644)
	must(t, os.Symlink("../real/d.json", link))
	apply(t, link, (*File).Install, with(true))
	wantFiles(t, real, map[string]string{"d.json": changed, "d.json.quaymaster-backup": original})
	if target, err := os.Readlink(link); err != nil || target != "../real/d.json" {
		t.Errorf("the link: %q, %v", target, err)
	}
}

func TestFilesThatAreLeftAlone(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  string // FILE stands for the path
	}{
		{"a link to nowhere", func(t *testing.T, path string) { must(t, os.Symlink("/nonexistent/d.json", path)) },
			"FILE is a symbolic link to a file that does not exist: make that file or remove the link"},
		{"a directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o755)) }, "FILE is not a regular file"},
		{"a FIFO", func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }, "FILE is not a regular file"},
		{"too large", func(t *testing.T, path string) { write(t, path, strings.Repeat(" ", 1<<20+1), 0o600) }, "FILE is larger than 1048576 bytes"},
		{"not JSON", func(t *testing.T, path string) { write(t, path, "{\n\tdebug: true\n}", 0o600) },
			"FILE:2:2: cannot be read as JSON: found 'd' where a name in double quotes is expected"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "daemon.json")
			test.spoil(t, path)
			for _, plan := range []func(*File, Change) (*Plan, error){(*File).Install, (*File).Undo} {
				f, err := Read(path)
				if err == nil {
					_, err = plan(f, gate)
				}
				if err == nil || strings.ReplaceAll(err.Error(), path, "FILE") != test.want {
					t.Errorf("got  %v\nwant %s", err, test.want)
				}
			}
			if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
				t.Errorf("%v, %v", entries, err)
			}
		})
	}
}

func TestRefusalHasItsPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.json")
	write(t, path, "{\n]", 0o644)
	f, err := Read(path)
	must(t, err)
	_, err = f.Install(gate)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Line != 2 || refusal.Column != 1 {
		t.Errorf("%v", err)
	}
}

func TestChangeThatMakesNoSense(t *testing.T) {
	f, err := Read(filepath.Join(t.TempDir(), "daemon.json"))
	must(t, err)
	for _, change := range []Change{{Path: "/a"}, {Name: "a"}, {Name: "a", Path: "a"}, {Name: "a", Path: "/a/../b"}} {
		want := fmt.Sprintf("runtime %q at %q: it needs a name and the absolute path of its binary", change.Name, change.Path)
		if _, err := f.Install(change); err == nil || err.Error() != want {
			t.Errorf("%+v: %v", change, err)
		}
	}
}

func TestSomebodyElseWasFaster(t *testing.T) {
	for _, before := range []string{"", "{}"} {
		path := filepath.Join(t.TempDir(), "daemon.json")
		if before != "" {
			write(t, path, before, 0o644)
		}
		f, err := Read(path)
		must(t, err)
		plan, err := f.Install(gate)
		must(t, err)
		write(t, path, `{"debug": true}`, 0o644)
		want := path + " was changed by somebody else just now: look at it and try again"
		if err := plan.Apply(); err == nil || err.Error() != want {
			t.Errorf("%q: %v", before, err)
		}
		wantFiles(t, filepath.Dir(path), map[string]string{"daemon.json": `{"debug": true}`})
	}
}

// Where nothing can be written, the file stays what it is and no draft is left.
func TestApplyThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "daemon.json")
	write(t, path, original, 0o644)
	f, err := Read(path)
	must(t, err)
	plan, err := f.Install(with(true))
	must(t, err)
	must(t, os.Symlink("/nonexistent", path+backupSuffix)) // it was not there when the file was read
	if err := plan.Apply(); !errors.Is(err, os.ErrExist) || !strings.HasPrefix(err.Error(), "keeping a backup of "+path+": ") {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(path+backupSuffix))
	wantFiles(t, dir, map[string]string{"daemon.json": original})
}

func TestBackupsAreNumbered(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "daemon.json")
	for n := 1; n <= 4; n++ {
		write(t, path, fmt.Sprintf(`{"n": %d}`, n), 0o644)
		apply(t, path, (*File).Install, gate)
	}
	f, err := Read(path)
	must(t, err)
	var kept []string
	for _, backup := range f.backups {
		kept = append(kept, string(backup))
	}
	if !slices.Equal(kept, []string{`{"n": 1}`, `{"n": 2}`, `{"n": 3}`, `{"n": 4}`}) {
		t.Errorf("backups: %q", kept)
	}
}

func TestFarewellSaysBothKeys(t *testing.T) {
	for before, want := range map[string]string{
		"{\n  \"debug\": true\n}\n": `{"debug":true,"default-runtime":"runc","runtimes":{}}`,
		`{"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "/usr/bin/nvidia"}}}`: `{"default-runtime":"nvidia","runtimes":{"nvidia":{"path":"/usr/bin/nvidia"}}}`,
		"": `{"default-runtime":"runc","runtimes":{}}`,
	} {
		got, err := farewell([]byte(before))
		if err != nil {
			t.Fatal(err)
		}
		var decoded map[string]any
		if err := json.Unmarshal(got, &decoded); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(decoded); string(again) != want {
			t.Errorf("%q: %s, want %s", before, again, want)
		}
	}
}

func TestUndoThroughAFarewell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.json")
	const before = "{\n  \"debug\": true\n}\n"
	write(t, path, before, 0o640)
	change := Change{Name: "quaymaster", Path: "/usr/bin/quaymaster-runtime", Default: true}
	file, err := Read(path)
	must(t, err)
	plan, err := file.Install(change)
	must(t, err)
	must(t, plan.Farewell()) // nothing to forget
	must(t, plan.Apply())

	file, err = Read(path)
	must(t, err)
	plan, err = file.Undo(change)
	must(t, err)
	must(t, plan.Farewell())
	if text, _ := os.ReadFile(path); !strings.Contains(string(text), `"default-runtime": "runc"`) || strings.Contains(string(text), "quaymaster") {
		t.Errorf("the farewell is\n%s", text)
	}
	must(t, plan.Apply())
	if text, _ := os.ReadFile(path); string(text) != before {
		t.Errorf("after Undo the file is\n%s", text)
	}
	if backups, _ := filepath.Glob(path + ".quaymaster-backup*"); len(backups) != 2 {
		t.Errorf("backups: %v", backups)
	}
}
