package main

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime/spec"
)

// created is an engine whose container was created with the variable TOKEN.
func created(t *testing.T, exec bool) engine {
	t.Helper()
	e := newEngine(t, labelledFile)
	e.log = e.bundle + "/log.json" // as containerd's shim has it
	e.agent(t, answering(inject.Delivery{ExecVariables: exec,
		Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext))}}}, nil))
	if o := e.create(t); o.runc == nil {
		t.Fatalf("runc was not reached: %s", o.stderr)
	}
	os.Remove(e.record)
	return e
}

const sleeper = `{"env":["A=1","TOKEN=x"], "cwd":"/","kept":1.0}`

// exec calls the program as the engine's shim does.
func (e engine) exec(t *testing.T, process, id string) outcome {
	t.Helper()
	file := e.dir + "/runc-process1"
	writeFile(t, file, process)
	return e.call(t, "--root", e.root, "--log", e.log, "--log-format", e.format, "exec", "--process", file, "--detach", id)
}

func TestExecInherits(t *testing.T) {
	e := created(t, true)
	for process, want := range map[string]string{
		sleeper:               strings.Replace(sleeper, "TOKEN=x", "TOKEN="+plaintext, 1),
		`{"env":["TOKEN=y"]}`: `{"env":["TOKEN=y"]}`,
	} {
		os.Remove(e.record)
		o := e.exec(t, process, e.id)
		if o.runc == nil || o.code != 7 || o.stderr != "" {
			t.Fatalf("runc was not reached: exit code %d, %s", o.code, o.stderr)
		}
		if o.runc.Process != want || o.runc.Seals&0xf != 0xf {
			t.Errorf("runc got %s, seals %#x", o.runc.Process, o.runc.Seals)
		}
		if o.runc.Dumpable != 1 || o.runc.PID != o.pid {
			t.Errorf("runc %+v, process %d", o.runc, o.pid)
		}
		args := slices.Clone(o.runc.Args)
		at := slices.Index(args, "--process") + 1
		if !strings.HasPrefix(args[at], "/proc/self/fd/") {
			t.Errorf("the process JSON is at %s", args[at])
		}
		args[at] = e.dir + "/runc-process1"
		if want := []string{e.runc, "--root", e.root, "--log", e.log, "--log-format", e.format, "exec", "--process", args[at], "--detach", e.id}; !slices.Equal(args, want) {
			t.Errorf("runc was called as %q", o.runc.Args)
		}
	}
	if text := readFileText(t, e.dir+"/runc-process1"); strings.Contains(text, plaintext) {
		t.Error("the engine's own file was written to")
	}
}

// TestExecWithoutMark: not configured, another container's, a mark of another
// user or in another form, and whatever runc itself must complain of.
func TestExecWithoutMark(t *testing.T) {
	untouched := func(t *testing.T, e engine, id string) {
		t.Helper()
		o := e.exec(t, sleeper, id)
		if o.runc == nil || o.runc.Process != sleeper || !slices.Contains(o.runc.Args, e.dir+"/runc-process1") {
			t.Errorf("exit code %d, %s, %+v", o.code, o.stderr, o.runc)
		}
	}
	e := created(t, false)
	if _, err := os.Stat(e.bundle + "/" + markName); !os.IsNotExist(err) {
		t.Errorf("a mark: %v", err)
	}
	untouched(t, e, e.id)
	e = created(t, true)
	untouched(t, e, strings.Repeat("0", 64))
	writeFile(t, e.bundle+"/"+markName, "quaymaster-exec 2\n\""+e.id+"\"\n\"TOKEN\"\n")
	untouched(t, e, e.id)
	if err := os.Remove(e.bundle + "/" + markName); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(e.record, e.bundle+"/"+markName); err != nil {
		t.Fatal(err)
	}
	untouched(t, e, e.id)
}

// TestCreateTakesAMarkAway: an earlier run of the same bundle was configured.
func TestCreateTakesAMarkAway(t *testing.T) {
	e := newEngine(t, labelledFile)
	writeFile(t, e.bundle+"/"+markName, "old")
	e.agent(t, answering(inject.Delivery{Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext))}}}, nil))
	if o := e.create(t); o.runc == nil {
		t.Fatalf("runc was not reached: %s", o.stderr)
	}
	e.wantClean(t)
}

func TestExecThatCannotInherit(t *testing.T) {
	for what, spoil := range map[string]func(e engine) string{
		"config.json": func(e engine) string { os.Remove(e.bundle + "/config.json"); return sleeper },
		"env[]":       func(engine) string { return `{"env":[1]}` },
		"line 1":      func(engine) string { return `{` },
	} {
		e := created(t, true)
		o := e.exec(t, spoil(e), e.id)
		if o.runc != nil || o.code != 1 || !strings.Contains(o.stderr, "quaymaster: a process in container "+e.id+" was not started") ||
			!strings.Contains(o.stderr, what) || strings.Contains(o.stderr, plaintext) || !strings.Contains(readFileText(t, e.log), what) {
			t.Errorf("%s: exit code %d, %s", what, o.code, o.stderr)
		}
	}
}

func readFileText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func FuzzMark(f *testing.F) {
	f.Add([]byte(markName+" 1\n\"4f1c\"\n\"TOKEN\" \"TOKEN=x\"\n"), "4f1c", "TOKEN", "TOKEN=\n\xff")
	f.Fuzz(func(t *testing.T, text []byte, id, name, engine string) {
		decodeMark(decodeNote(text, markName, id))
		want := []spec.Inherited{{Name: name, Engine: []string{engine}}, {Name: "B", Engine: []string{}}}
		if got := decodeMark(decodeNote(encodeMark(id, want), markName, id)); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q became %q", want, got)
		}
		if got := decodeMark(decodeNote(encodeMark(id, want), markName, id+"x")); got != nil {
			t.Fatalf("another container has %q", got)
		}
	})
}
