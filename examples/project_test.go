//go:build engines

package examples_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/test/engine"
)

// project is a copy of an example's files, in which docker compose runs. Beside
// them lies what this world has otherwise: an override, as any user may write.
type project struct {
	*world
	dir string
}

// probed is an override in which services are probes: the rest of each is the
// example's. It maps each service to the directory of its secrets.
func probed(services map[string]string) string {
	override := "services:\n"
	for name, dir := range services {
		override += fmt.Sprintf("  %s: {image: %s, pull_policy: never, command: [/probe, %s, hold]}\n", name, engine.ProbeImage, dir)
	}
	return override
}

// project copies an example. The one word that is changed in it is the name of
// the driver, of which the machine has one, and each of its hosts another.
func (w *world) project(t *testing.T, example, override string) *project {
	t.Helper()
	p := &project{w, t.TempDir()}
	if err := os.CopyFS(p.dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "driver: quaymaster\n", "driver: "+w.Plugin()+"\n")), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "compose.override.yaml", override)
	return p
}

func (p *project) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// compose is docker compose in the project's directory.
func (p *project) compose(ctx context.Context, args ...string) (stdout string, err error) {
	return p.Engine.Docker(ctx, p.dir, append([]string{"compose", "--ansi", "never"}, args...)...)
}

// up starts the project until the test ends.
func (p *project) up(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if _, err := p.compose(context.WithoutCancel(t.Context()), "down", "--volumes", "--timeout", "1"); err != nil {
			t.Error(err)
		}
	})
	if _, err := p.compose(soon(t), "up", "--detach"); err != nil {
		t.Fatal(err)
	}
}

// report is what the probe of a service saw at its first instruction.
func (p *project) report(t *testing.T, service string) engine.Report {
	t.Helper()
	id, err := p.compose(soon(t), "ps", "--quiet", "--no-trunc", service)
	if err != nil {
		t.Fatal(err)
	}
	return p.reportOf(t, strings.TrimSpace(id))
}

func (w *world) reportOf(t *testing.T, id string) (report engine.Report) {
	t.Helper()
	err := w.Await(t.Context(), "the report of container "+id, func() bool {
		reports, err := w.Engine.Reports(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(reports) > 0 {
			report = reports[0]
		}
		return len(reports) > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// is reports whether a file holds the value.
func is(file engine.File, value string) bool {
	return file.Fingerprint == engine.Fingerprint([]byte(value))
}

// holds fails unless the report has exactly these files, with their values, of
// one mode and owner.
func holds(t *testing.T, r engine.Report, mode fs.FileMode, owner uint32, files map[string]string) {
	t.Helper()
	if len(r.Files) != len(files) || len(r.Unreadable) > 0 || r.Writable {
		t.Errorf("files %v, unreadable %v, writable %v; want %d files", r.Files, r.Unreadable, r.Writable, len(files))
	}
	for name, value := range files {
		file := r.Files[name]
		if !is(file, value) || file.Mode != mode || file.UID != owner {
			t.Errorf("file %s is %+v, want its value, mode %o and owner %d", name, file, mode, owner)
		}
	}
}

// varies fails unless the report has the variable.
func varies(t *testing.T, r engine.Report, name, value string) {
	t.Helper()
	if r.Env[name].Fingerprint != engine.Fingerprint([]byte(value)) {
		t.Errorf("variable %s is %+v, want its value", name, r.Env[name])
	}
}

// logged waits until a service has printed what is wanted.
func (p *project) logged(t *testing.T, service, what string, wanted func(log string) bool) (log string) {
	t.Helper()
	err := p.Await(t.Context(), what, func() bool {
		var err error
		if log, err = p.compose(t.Context(), "logs", "--no-log-prefix", service); err != nil {
			t.Fatal(err)
		}
		return wanted(log)
	})
	if err != nil {
		t.Fatalf("%v\nthe service says:\n%s", err, log)
	}
	return log
}

// tag gives an image that the engine has the name that an example knows it by.
func (w *world) tag(t *testing.T, image, name string) {
	t.Helper()
	if err := w.Engine.Client().ImageTag(soon(t), image, name); err != nil {
		t.Fatal(err)
	}
}
