package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

const (
	plaintext = "hunter2-correct-horse"
	recordEnv = "QUAYMASTER_TEST_RECORD" // where the stand-in for runc writes what it was called with
)

// binary is the program under test, built once.
var binary string

// TestMain is also the stand-in for runc: the program under test executes this
// test binary, which then finds recordEnv set.
func TestMain(m *testing.M) {
	if path := os.Getenv(recordEnv); path != "" {
		os.Exit(standIn(path))
	}
	dir, err := os.MkdirTemp("", "quaymaster-runtime")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "quaymaster-runtime")
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=1.2.3", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// record is what the stand-in for runc saw.
type record struct {
	Args     []string
	Config   string
	Process  string // of exec: the process JSON
	Seals    int    // of the file that it is in
	Dumpable int
	Files    uint64 // soft RLIMIT_NOFILE
	Core     uint64 // soft RLIMIT_CORE
	PID      int
}

func standIn(path string) int {
	var r record
	r.Args, r.PID = os.Args, os.Getpid()
	if i := slices.Index(os.Args, "--bundle"); i > 0 {
		text, _ := os.ReadFile(os.Args[i+1] + "/config.json")
		r.Config = string(text)
	}
	if i := slices.Index(os.Args, "--process"); i > 0 {
		text, _ := os.ReadFile(os.Args[i+1])
		r.Process = string(text)
		fd, _ := strconv.Atoi(filepath.Base(os.Args[i+1]))
		r.Seals, _ = control(fd, 1034, 0) // F_GET_SEALS
	}
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, 3, 0, 0) // PR_GET_DUMPABLE
	r.Dumpable = int(dumpable)
	var core syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
	r.Core = core.Cur
	// The Go runtime of this process has raised its own limit already; a child
	// gets the one that it was started with.
	out, _ := exec.Command("/bin/sh", "-c", "ulimit -Sn").Output()
	json.Unmarshal(out, &r.Files)
	text, _ := json.Marshal(r)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return 99
	}
	return 7
}

// engine is what an engine has for one container that it is about to create.
type engine struct {
	id      string
	dir     string // all below is in it: on a memory filesystem
	bundle  string
	log     string
	run     string // of the agent
	root    string // of runc
	record  string
	runc    string
	timeout string
	format  string
}

const (
	unlabelledFile = `{"ID":"ID","Name":"/web","Config":{"Env":["A=1"],"Labels":{"x":"y"}}}`
	labelledFile   = `{"ID":"ID","Name":"/web","Config":{"Env":["A=1"],"Labels":{"quaymaster.secret.a":"vault:kv/a"}}}`
	mentionedFile  = `{"ID":"ID","Name":"/web","Config":{"Env":["A=quaymaster.x"],"Labels":{"x":"y"}}}`
)

// newEngine makes a bundle and the engine's own file with that text.
func newEngine(t *testing.T, file string) engine {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "quaymaster")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := engine{id: strings.Repeat("4f1c", 16), dir: dir, bundle: dir + "/bundle", log: dir + "/log.json", run: dir + "/run",
		root: dir + "/runc", record: dir + "/record", runc: executable(t), timeout: "10s", format: "json"}
	own := dir + "/containers/" + e.id
	for _, d := range []string{e.bundle, e.run, own} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, own+"/config.v2.json", strings.ReplaceAll(file, "ID\":\"ID", "ID\":\""+e.id))
	writeFile(t, e.bundle+"/config.json", `{"process":{"user":{"uid":65532,"gid":65533},"env":["A=1","TOKEN=x"]},"mounts":[`+
		`{"destination":"/etc/hosts","source":"`+own+`/hosts"}],"kept":1.0}`)
	return e
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// outcome is how one call of the program ended.
type outcome struct {
	code   int
	stderr string
	runc   *record // nil when runc was not reached
	pid    int
}

// create calls the program as the engine does.
func (e engine) create(t *testing.T) outcome {
	t.Helper()
	return e.call(t, "--root", e.root, "--log", e.log, "--log-format", e.format, "create", "--bundle", e.bundle,
		"--pid-file", e.dir+"/pid", e.id)
}

func (e engine) call(t *testing.T, args ...string) outcome {
	t.Helper()
	args = append([]string{"--quaymaster-run", e.run, "--quaymaster-runc=" + e.runc, "--quaymaster-gate-timeout", e.timeout}, args...)
	command := exec.Command(binary, args...)
	command.Env = append(os.Environ(), recordEnv+"="+e.record)
	var stderr strings.Builder
	command.Stderr = &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{code: command.ProcessState.ExitCode(), stderr: stderr.String(), pid: command.Process.Pid}
	if text, err := os.ReadFile(e.record); err == nil {
		if err := json.Unmarshal(text, &o.runc); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func (e engine) socket() string { return e.run + "/runtime.sock" }

func (e engine) config(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(e.bundle + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantPassed holds that runc was reached and had everything unchanged.
func (e engine) wantPassed(t *testing.T, o outcome, config string) {
	t.Helper()
	if o.runc == nil || o.code != 7 || o.stderr != "" {
		t.Fatalf("runc was not reached: exit code %d, %s", o.code, o.stderr)
	}
	want := []string{e.runc, "--root", e.root, "--log", e.log, "--log-format", e.format, "create", "--bundle", e.bundle,
		"--pid-file", e.dir + "/pid", e.id}
	if !slices.Equal(o.runc.Args, want) {
		t.Errorf("runc was called as %q, want %q", o.runc.Args, want)
	}
	if o.runc.Config != config {
		t.Errorf("config.json is %s, want %s", o.runc.Config, config)
	}
	if o.runc.PID != o.pid {
		t.Error("runc is not the process that the engine started")
	}
	if o.runc.Dumpable != 1 {
		t.Errorf("runc inherits dumpable %d", o.runc.Dumpable)
	}
	e.wantClean(t)
}

// wantFailed holds that runc was not reached and the user sees why.
func (e engine) wantFailed(t *testing.T, o outcome, parts ...string) {
	t.Helper()
	if o.runc != nil || o.code != 1 {
		t.Fatalf("exit code %d, runc %v", o.code, o.runc)
	}
	text, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Level, Msg, Time string }
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatalf("log %q: %v", text, err)
	}
	if _, err := time.Parse(time.RFC3339, line.Time); err != nil || line.Level != "error" || !strings.HasPrefix(line.Msg, "quaymaster: ") {
		t.Errorf("log %q, %v", text, err)
	}
	if o.stderr != line.Msg+"\n" {
		t.Errorf("stderr %q, log %q", o.stderr, line.Msg)
	}
	for _, part := range parts {
		if !strings.Contains(line.Msg, part) {
			t.Errorf("message %q does not say %q", line.Msg, part)
		}
	}
	if strings.Contains(line.Msg, plaintext) {
		t.Errorf("the message shows the value: %s", line.Msg)
	}
	e.wantClean(t)
}

// wantClean holds that the bundle has config.json, the note of a tree, a log,
// and nothing else.
func (e engine) wantClean(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(e.bundle)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == placedName || e.Name() == "log.json" })
	if err != nil || len(entries) > 1 {
		t.Errorf("in the bundle: %v, %v", entries, err)
	}
}

type deliver func(context.Context, inject.Arrival) (inject.Delivery, error)

func (d deliver) Deliver(ctx context.Context, a inject.Arrival) (inject.Delivery, error) {
	return d(ctx, a)
}

// agent runs a real gate for the test's time.
func (e engine) agent(t *testing.T, d deliver) {
	t.Helper()
	listener, err := runtime.Listen(e.socket())
	if err != nil {
		t.Fatal(err)
	}
	g := runtime.New(runtime.Options{Listener: listener, Deliverer: d, Timeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func answering(delivery inject.Delivery, err error) deliver {
	return func(context.Context, inject.Arrival) (inject.Delivery, error) { return delivery, err }
}

// plainListener accepts connections and hands them to serve, one by one.
func (e engine) plainListener(t *testing.T, serve func(number int, conn net.Conn)) {
	t.Helper()
	listener, err := net.Listen("unix", e.socket())
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for number := 0; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				serve(number, conn)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); running.Wait() })
}

func TestOtherCallsPassAtOnce(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.agent(t, func(context.Context, inject.Arrival) (inject.Delivery, error) {
		t.Error("the agent was asked")
		return inject.Delivery{}, nil
	})
	for _, line := range []string{"--root /r --log-format json start 4f1c", "kill 4f1c 9", "delete --force 4f1c", "state 4f1c",
		"exec --process /p --detach 4f1c", "--version", "features", "shoe create --bundle /none c", "create --help", ""} {
		os.Remove(e.record)
		args := strings.Fields(line)
		o := e.call(t, args...)
		if o.runc == nil || o.code != 7 || !slices.Equal(o.runc.Args, append([]string{e.runc}, args...)) {
			t.Errorf("%q: exit code %d, %s, %+v", line, o.code, o.stderr, o.runc)
		}
	}
}

func TestUnlabelledNeverAsks(t *testing.T) {
	e := newEngine(t, unlabelledFile)
	config := e.config(t)
	e.wantPassed(t, e.create(t), config) // no agent
	e.agent(t, func(context.Context, inject.Arrival) (inject.Delivery, error) {
		t.Error("the agent was asked")
		return inject.Delivery{}, nil
	})
	e.wantPassed(t, e.create(t), config)
}

func TestAgentPasses(t *testing.T) {
	e := newEngine(t, labelledFile)
	config := e.config(t)
	e.agent(t, func(_ context.Context, a inject.Arrival) (inject.Delivery, error) {
		if a.Container != e.id || *a.User != (inject.Owner{UID: 65532, GID: 65533}) || !slices.Equal(a.Mounts, []string{"/etc/hosts"}) ||
			a.EngineDir != e.dir+"/containers/"+e.id || !a.MemoryOnly {
			t.Errorf("arrival %+v", a)
		}
		return inject.Delivery{}, nil
	})
	e.wantPassed(t, e.create(t), config)
}

func TestAgentDelivers(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.agent(t, answering(inject.Delivery{Source: "/trees/4f1c", Target: "/run/secrets",
		Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext))}}}, nil))
	if err := os.Chmod(e.bundle+"/config.json", 0o640); err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("TOKEN=x", "TOKEN="+plaintext, `/hosts"}]`, `/hosts"},{"destination":"/run/secrets","type":"bind",`+
		`"source":"/trees/4f1c","options":["bind","ro","nosuid","nodev","noexec","rprivate"]}]`).Replace(e.config(t))
	e.wantPassed(t, e.create(t), want)
	if info, err := os.Stat(e.bundle + "/config.json"); err != nil || info.Mode() != 0o640 {
		t.Errorf("config.json has mode %v, %v", info.Mode(), err)
	}
}

// What the Go runtime does to its own limits must not reach the container.
func TestLimitsAreHandedOn(t *testing.T) {
	e := newEngine(t, unlabelledFile)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("/bin/sh", "-c", `ulimit -Sn 300; exec "$@"`, "sh", binary, "--quaymaster-runc", e.runc, "state", "c")
	shell.Env = append(os.Environ(), recordEnv+"="+e.record)
	shell.Run() // exits with the stand-in's code
	var r record
	text, err := os.ReadFile(e.record)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil || r.Files != 300 || r.Core != before.Cur {
		t.Errorf("limits of runc: %+v, %v", r, err)
	}
}

func TestAgentRefuses(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.agent(t, answering(inject.Delivery{}, errors.New(`container "web": ref "vault:kv/a" is not granted`)))
	e.wantFailed(t, e.create(t), `quaymaster: container "web": ref "vault:kv/a" is not granted`)
}

func TestVariablesNeedMemory(t *testing.T) {
	delivery := inject.Delivery{Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext))}}}
	e := newEngine(t, labelledFile)
	e.root = "/proc/none"
	e.agent(t, func(_ context.Context, a inject.Arrival) (inject.Delivery, error) {
		if a.MemoryOnly {
			t.Error("the arrival says memory only")
		}
		return delivery, nil
	})
	config := e.config(t)
	e.wantFailed(t, e.create(t), e.id, "/proc/none", "on a disk", "tmpfs")
	if e.config(t) != config {
		t.Error("config.json was changed")
	}
}

func TestVariableThatCannotBe(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.agent(t, answering(inject.Delivery{Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext + "\xff"))}}}, nil))
	e.wantFailed(t, e.create(t), e.id, `variable "TOKEN": its value is not valid UTF-8`, "file")
}

func TestNoAgent(t *testing.T) {
	refused := func(t *testing.T, e engine) {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: e.socket(), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		listener.Close()
	}
	for name, c := range map[string]struct {
		prepare func(*testing.T, engine)
		why     string
	}{
		"no socket": {func(*testing.T, engine) {}, "no such file or directory"},
		"refused":   {refused, "connection refused"},
		"hangs": {func(t *testing.T, e engine) {
			e.plainListener(t, func(_ int, conn net.Conn) { io.Copy(io.Discard, conn) })
		}, "no answer in time"},
		"hangs up": {func(t *testing.T, e engine) {
			e.plainListener(t, func(_ int, conn net.Conn) { conn.Read(make([]byte, 1)) })
		}, ""}, // a reset or an end of file, as the kernel has it
		"stops in the middle": {func(t *testing.T, e engine) {
			e.plainListener(t, func(_ int, conn net.Conn) {
				conn.Write([]byte("quaymaster-gate 1\nverdict"))
				io.Copy(io.Discard, conn)
			})
		}, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			for file, want := range map[string]string{labelledFile: "container web (", `{"ID":"other"}`: "does not tell"} {
				e := newEngine(t, file)
				e.timeout = "200ms"
				c.prepare(t, e)
				e.wantFailed(t, e.create(t), want, e.id, e.socket(), wire.NoAgent+" at", "within 200ms", "systemctl start quaymaster", c.why)
			}
			e := newEngine(t, mentionedFile)
			e.timeout = "200ms"
			c.prepare(t, e)
			e.wantPassed(t, e.create(t), e.config(t))
		})
	}
}

func TestMentionedIsAsked(t *testing.T) {
	e := newEngine(t, mentionedFile)
	e.agent(t, answering(inject.Delivery{}, errors.New("asked")))
	e.wantFailed(t, e.create(t), "asked")
}

// An agent that comes back while the runtime waits is met: at the socket, or
// after one that stopped without an answer.
func TestAgentComesBack(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.plainListener(t, func(number int, conn net.Conn) {
		if number < 3 {
			return
		}
		text := make([]byte, 4096)
		conn.Read(text)
		conn.Write([]byte("quaymaster-gate 1\nverdict \"pass\"\n\n"))
	})
	e.wantPassed(t, e.create(t), e.config(t))

	late := newEngine(t, labelledFile)
	elsewhere := late
	elsewhere.run = late.dir + "/elsewhere"
	elsewhere.agent(t, answering(inject.Delivery{}, nil))
	var running sync.WaitGroup
	running.Go(func() {
		time.Sleep(100 * time.Millisecond)
		if err := os.Rename(elsewhere.socket(), late.socket()); err != nil {
			t.Error(err)
		}
	})
	late.wantPassed(t, late.create(t), late.config(t))
	running.Wait()
}

func TestAgentOfAnotherRelease(t *testing.T) {
	speak := func(e engine) {
		e.plainListener(t, func(_ int, conn net.Conn) {
			conn.Write([]byte("quaymaster-gate 9\nverdict \"pass\"\n\n"))
			io.Copy(io.Discard, conn)
		})
	}
	e := newEngine(t, labelledFile)
	speak(e)
	e.wantFailed(t, e.create(t), "container web", "same release", e.socket())
	e = newEngine(t, mentionedFile)
	speak(e)
	e.wantPassed(t, e.create(t), e.config(t))
}

func TestBadBundles(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, e *engine, config string)
		want  []string
	}{
		"no bundle": {func(_ *testing.T, e *engine, _ string) {
			os.RemoveAll(e.bundle)
			os.Mkdir(e.bundle, 0o700)
			e.bundle += "/none"
		},
			[]string{"cannot open the bundle", "/none", "no such file"}},
		"no config.json": {func(_ *testing.T, e *engine, config string) { os.Remove(config) }, []string{"cannot read config.json", "no such file"}},
		"not JSON":       {func(t *testing.T, _ *engine, config string) { writeFile(t, config, "{\n\"process\": }") }, []string{"config.json: line 2, column 12"}},
		"wrong shape": {func(t *testing.T, _ *engine, config string) {
			writeFile(t, config, `{"process":{"user":{"uid":"root"}}}`)
		}, []string{"process.user.uid"}},
		"a directory": {func(_ *testing.T, _ *engine, config string) { os.Remove(config); os.Mkdir(config, 0o700) }, []string{"not a regular file"}},
		"a fifo":      {func(_ *testing.T, _ *engine, config string) { os.Remove(config); syscall.Mkfifo(config, 0o600) }, []string{"not a regular file"}},
		"a link": {func(t *testing.T, e *engine, config string) {
			if err := os.Rename(config, e.dir+"/elsewhere"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(e.dir+"/elsewhere", config); err != nil {
				t.Fatal(err)
			}
		}, []string{"cannot read config.json", "too many levels of symbolic links"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, labelledFile)
			e.agent(t, answering(inject.Delivery{Source: "/a", Target: "/b"}, nil))
			c.spoil(t, &e, e.bundle+"/config.json")
			o := e.create(t)
			e.bundle = e.dir + "/bundle"
			e.wantFailed(t, o, c.want...)
		})
	}
}

func TestLogs(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.agent(t, answering(inject.Delivery{}, errors.New("line one\n\"line two\"")))
	e.wantFailed(t, e.create(t), "line one\n\"line two\"")

	e.format = "text"
	writeFile(t, e.log, "earlier\n")
	e.create(t)
	text, err := os.ReadFile(e.log)
	if want := ` level=error msg="quaymaster: line one\n\"line two\""` + "\n"; err != nil || !strings.HasPrefix(string(text), "earlier\ntime=\"") ||
		!strings.HasSuffix(string(text), want) {
		t.Errorf("text log %q, %v", text, err)
	}
	e.log = e.dir + "/none/log"
	if o := e.create(t); o.code != 1 || !strings.Contains(o.stderr, "line one") || !strings.Contains(o.stderr, "cannot write to the log "+e.log) {
		t.Errorf("log that cannot be written: %+v", o)
	}
	if o := e.call(t, "create", "--bundle", e.bundle, e.id); o.code != 1 || o.stderr != "quaymaster: line one\n\"line two\"\n" {
		t.Errorf("without a log: %+v", o)
	}
}

func TestSocketPathTooLong(t *testing.T) {
	e := newEngine(t, labelledFile)
	e.run, e.timeout = "/"+strings.Repeat("a", 120), "100ms"
	e.wantFailed(t, e.create(t), "at most 107 bytes")
}

func TestRuncThatCannotBe(t *testing.T) {
	e := newEngine(t, unlabelledFile)
	link, text := e.dir+"/link", e.dir+"/text"
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	writeFile(t, text, "not a program")
	script := e.dir + "/script"
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec "+binary+" --quaymaster-runc "+script+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for runc, want := range map[string]string{
		binary: "is quaymaster-runtime itself", link: "is quaymaster-runtime itself", script: "leads back",
		e.dir + "/none": "is not there", text: "cannot execute", "none-on-path": "there is no none-on-path on PATH",
	} {
		os.Remove(e.log)
		e.runc = runc
		e.wantFailed(t, e.create(t), want, "--quaymaster-runc")
	}
}

func TestRuncOnPath(t *testing.T) {
	e := newEngine(t, unlabelledFile)
	bin := e.dir + "/bin"
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, e.dir+"/runc", "not executable")
	if err := os.Symlink(e.runc, bin+"/runc"); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "state", "c")
	command.Env = []string{"PATH=.:/none:" + e.dir + ":" + bin, recordEnv + "=" + e.record}
	command.Run() // exits with the stand-in's code
	var r record
	text, err := os.ReadFile(e.record)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil || !slices.Equal(r.Args, []string{bin + "/runc", "state", "c"}) {
		t.Errorf("runc was called as %q, %v", r.Args, err)
	}
}

func TestVersionAndWrongFlags(t *testing.T) {
	if out, err := exec.Command(binary, "--quaymaster-version").Output(); err != nil || string(out) != "1.2.3\n" {
		t.Errorf("version %q, %v", out, err)
	}
	e := newEngine(t, unlabelledFile)
	e.timeout = "soon"
	e.wantFailed(t, e.create(t), "--quaymaster-gate-timeout needs a duration such as 30s, not soon", "daemon.json")
}
