package render_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/inject/render"
)

func TestAnEditTakesEffect(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.tmpl")
	r, err := render.New(render.Options{Templates: dir})
	if err != nil {
		t.Fatal(err)
	}
	in := render.Input{Secret: plain(templated), Lookup: lookup}
	render := func() string {
		got, err := files(t, r, want(t, "v:kv/a", "template:app"), in)
		if err != nil {
			return err.Error()
		}
		return got["Timeline"]
	}
	if got := render(); got != `there is no template "app"; those in `+dir+` are: ` {
		t.Errorf("before it is there: %s", got)
	}
	write(t, path, "one")
	if got := render(); got != "one" {
		t.Errorf("got %s", got)
	}
	write(t, path, "two") // as long as the first, and maybe in the same instant
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := render(); got != "two" {
		t.Errorf("after an edit: %s", got)
	}
	write(t, path, "{{")
	if got := render(); !strings.HasPrefix(got, "template: app:1: ") {
		t.Errorf("after a bad edit: %s", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "other.tmpl"), "x")
	if got := render(); got != `there is no template "app"; those in `+dir+` are: other` {
		t.Errorf("after its end: %s", got)
	}
}

func TestTemplatesThatAreNotTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir, file string) error
		want  string
	}{
		"a file that all can write": {func(_, file string) error { return os.Chmod(file, 0o606) },
			"template app: every user can write DIR/app.tmpl (mode 0606) and so decide what containers read: run chmod o-w DIR/app.tmpl"},
		"a directory that all can write": {func(dir, _ string) error { return os.Chmod(dir, 0o777) },
			"every user can write DIR (mode 0777) and so decide what containers read: run chmod o-w DIR"},
		"a named pipe": {func(_, file string) error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)) },
			"template app: DIR/app.tmpl is not a regular file"},
		"a link that leads outside": {func(_, file string) error { return errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)) },
			"template app: openat app.tmpl: path escapes from parent"},
		"too large": {func(_, file string) error { return os.WriteFile(file, make([]byte, 256<<10+1), 0o600) },
			"template app: it has more than 262144 bytes"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "app.tmpl")
		write(t, file, "x")
		r, err := render.New(render.Options{Templates: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.spoil(dir, file); err != nil {
			t.Fatal(err)
		}
		_, err = r.Refs(want(t, "v:kv/a", "template:app").Format)
		if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != c.want {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}

func TestNewLooksAtTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o702); err != nil {
		t.Fatal(err)
	}
	if _, err := render.New(render.Options{Templates: dir}); err == nil || !strings.Contains(err.Error(), "run chmod o-w "+dir) {
		t.Errorf("got %v", err)
	}
	for _, none := range []string{"", filepath.Join(dir, "none")} {
		r, err := render.New(render.Options{Templates: none})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Refs(want(t, "v:kv/a", "template:app").Format); err == nil || !strings.Contains(err.Error(), "this host has no directory of templates") {
			t.Errorf("got %v", err)
		}
	}
}
