package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/quaymaster/quaymaster/inject"
)

// killer is a runc that kills the first process and is a stand-in otherwise.
const killer = `#!/bin/sh
case "$*" in
"--root ROOT --log LOG --log-format json kill ID KILL") touch DIR/killed; kill -9 "$(cat DIR/real-pid)" ;;
*) exec STANDIN "$@" ;;
esac
`

// placedIn makes a container whose root is that of the test, with a tree
// delivered at target.
func placedIn(t *testing.T, target string) (e engine, source string) {
	t.Helper()
	e, source = newEngine(t, labelledFile), t.TempDir()
	e.log = e.bundle + "/log.json" // where the engine has it
	e.agent(t, answering(inject.Delivery{Source: source, Target: target}, nil))
	first := exec.Command("sleep", "1000")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() { first.Wait() }) // takes note of its end, as the engine's shim does
	t.Cleanup(func() { first.Process.Kill(); waiting.Wait() })
	script := strings.NewReplacer("ROOT", e.root, "LOG", e.log, "ID", e.id, "DIR", e.dir, "STANDIN", e.runc).Replace(killer)
	if err := os.WriteFile(e.dir+"/runc-that-kills", []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	e.runc = e.dir + "/runc-that-kills"
	if o := e.create(t); o.runc == nil {
		t.Fatalf("create: %s", o.stderr)
	}
	if err := os.Remove(e.record); err != nil {
		t.Fatal(err)
	}
	writeFile(t, e.dir+"/pid", strconv.Itoa(first.Process.Pid))
	writeFile(t, e.dir+"/real-pid", strconv.Itoa(first.Process.Pid))
	return e, source
}

// start calls the program as the engine does.
func (e engine) start(t *testing.T) outcome {
	t.Helper()
	return e.call(t, "--root", e.root, "--log", e.log, "--log-format", e.format, "start", e.id)
}

// wantEnded holds that the start was refused and the first process is killed.
func (e engine) wantEnded(t *testing.T, o outcome, parts ...string) {
	t.Helper()
	e.wantFailed(t, o, parts...)
	if _, err := os.Stat(e.dir + "/killed"); err != nil || strings.Contains(o.stderr, "could not be ended") {
		t.Errorf("its process: %v, %s", err, o.stderr)
	}
}

// TestStartLooksForTheTree: runc is reached only where the tree lies where the
// container will look for it, whatever links lead there.
func TestStartLooksForTheTree(t *testing.T) {
	for name, c := range map[string]struct {
		link string // what target is a link to; TREE stands for the tree
		says string // empty: it starts
	}{
		"a link":              {link: "TREE"},
		"a relative link":     {link: "../../../../../../../../../TREE"},
		"elsewhere":           {link: "/", says: "is not its secrets (another directory is there)"},
		"nothing":             {link: "/none", says: "is not its secrets (no such file or directory)"},
		"a file":              {link: "/etc/passwd", says: "is not its secrets (not a directory)"},
		"through /proc":       {link: "/proc/self/root/TREE", says: "is not its secrets (too many levels of symbolic links)"},
		"a link to its place": {link: "secrets", says: "is not its secrets (too many levels of symbolic links)"},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "secrets")
			e, tree := placedIn(t, target)
			if err := os.Symlink(strings.ReplaceAll(c.link, "TREE", tree), target); err != nil {
				t.Fatal(err)
			}
			o := e.start(t)
			if c.says != "" {
				e.wantEnded(t, o, "container web ("+e.id+") did not start: what lies at "+target+" in it ", c.says, "quaymaster.path")
			} else if o.runc == nil {
				t.Error(o.stderr)
			}
		})
	}
}

// TestStartThatCannotLook: what the gate promised and cannot see is not there.
func TestStartThatCannotLook(t *testing.T) {
	for says, spoil := range map[string]func(e engine, source string) error{
		"its first process is not known: ":   func(e engine, _ string) error { return os.Remove(e.dir + "/pid") },
		"no number in ":                      func(e engine, _ string) error { return os.WriteFile(e.dir+"/pid", []byte("-1"), 0o600) },
		"/proc/2147483647/root: no such":     func(e engine, _ string) error { return os.WriteFile(e.dir+"/pid", []byte("2147483647"), 0o600) },
		"its secrets were taken away again ": func(_ engine, source string) error { return os.Remove(source) },
	} {
		e, source := placedIn(t, "/")
		if err := spoil(e, source); err != nil {
			t.Fatal(err)
		}
		e.wantEnded(t, e.start(t), says)
	}
}

// TestStartWithoutANote: containers that get no files, and those of others, are
// not looked at.
func TestStartWithoutANote(t *testing.T) {
	e, _ := placedIn(t, "/none")
	e.id = strings.Repeat("5f1c", 16)
	if o := e.start(t); o.runc == nil {
		t.Errorf("the note of another container: %s", o.stderr)
	}
	e = newEngine(t, labelledFile)
	e.agent(t, answering(inject.Delivery{}, nil))
	e.log = e.bundle + "/log.json"
	if o := e.create(t); o.runc == nil {
		t.Fatal(o.stderr)
	}
	if o := e.start(t); o.runc == nil {
		t.Errorf("no files: %s", o.stderr)
	}
	if _, err := os.Stat(e.bundle + "/" + placedName); !os.IsNotExist(err) {
		t.Errorf("a note: %v", err)
	}
}
