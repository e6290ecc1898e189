package main

import (
	"context"
	"log/slog"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime"
	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// hook calls the program as runc calls a hook; stdin "" means the state of the
// engine's container, whose process has the number 4711.
func (e engine) hook(t *testing.T, stdin string, args ...string) (code int, stderr string) {
	t.Helper()
	if stdin == "" {
		stdin = `{"ociVersion":"1.0.2","id":"` + e.id + `","status":"creating","pid":4711,"bundle":"` + e.bundle + `"}`
	}
	command := exec.Command(binary, append([]string{"--quaymaster-run", e.run, "--quaymaster-gate-timeout", e.timeout, "cdi-hook"}, args...)...)
	command.Stdin = strings.NewReader(stdin)
	command.Env = []string{} // as runc runs hooks that name none
	var out strings.Builder
	command.Stderr = &out
	command.Run()
	return command.ProcessState.ExitCode(), out.String()
}

// device gives the container a device of the profile shop.
func (e engine) device(t *testing.T) {
	t.Helper()
	writeFile(t, e.bundle+"/config.json", `{"root":{"path":"/rootfs"},"process":{"user":{"uid":7,"gid":8}},"mounts":[`+
		`{"destination":"/etc/hosts","source":"`+e.dir+"/containers/"+e.id+`/hosts"},{"destination":"/run/secrets","source":"`+spec.Placeholder(e.run)+
		`"}],"hooks":{"createRuntime":[{"path":"/q","args":["q","cdi-hook","--profile","shop"]}]}}`)
}

// attacher is a RootAttacher made of a function.
type attacher func(pid int, root, source, target string) error

func (a attacher) AttachAt(_ context.Context, pid int, root, source, target string) error {
	return a(pid, root, source, target)
}

func TestHookPasses(t *testing.T) {
	e := newEngine(t, unlabelledFile)
	e.device(t)
	var attached []string
	listener, err := runtime.Listen(e.socket())
	if err != nil {
		t.Fatal(err)
	}
	gate := runtime.New(runtime.Options{Listener: listener, Timeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler),
		Deliverer: deliver(func(_ context.Context, a inject.Arrival) (inject.Delivery, error) {
			if a.Container != e.id || a.Profile != "shop" || a.PID != 4711 || *a.User != (inject.Owner{UID: 7, GID: 8}) ||
				!slices.Equal(a.Mounts, []string{"/etc/hosts"}) || a.EngineDir != e.dir+"/containers/"+e.id {
				t.Errorf("arrival %+v", a)
			}
			return inject.Delivery{Source: "/tree", Target: "/run/secrets"}, nil
		}),
		Attacher: attacher(func(pid int, root, source, target string) error {
			attached = []string{strconv.Itoa(pid), root, source, target}
			return nil
		})})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- gate.Run(ctx) }()
	code, stderr := e.hook(t, "", "--profile", "shop")
	cancel()
	if err := <-done; err != nil || code != 0 || stderr != "" {
		t.Errorf("exit code %d, %s, %v", code, stderr, err)
	}
	if want := []string{"4711", "/rootfs", "/tree", "/run/secrets"}; !slices.Equal(attached, want) {
		t.Errorf("attached %q, want %q", attached, want)
	}
}

func TestHookRefuses(t *testing.T) {
	e := newEngine(t, unlabelledFile)
	e.timeout = "200ms"
	e.device(t)
	for name, c := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"no agent":       {"", []string{"--profile", "shop"}, "quaymaster: container web (" + e.id + ") did not start: it has a device of the profile shop, and " + wire.NoAgent + " at " + e.socket() + " within 200ms"},
		"no profile":     {"", nil, "needs --profile NAME"},
		"empty profile":  {"", []string{"--profile", ""}, "needs --profile NAME"},
		"other argument": {"", []string{"--profil", "shop"}, "needs --profile NAME"},
		"no state":       {"{}", []string{"--profile", "shop"}, "does not name id, pid and bundle"},
		"state in parts": {`{"id":`, []string{"--profile", "shop"}, "cannot read the state"},
		"no bundle":      {`{"id":"a","pid":1,"bundle":"/none"}`, []string{"--profile", "shop"}, "cannot open the bundle /none"},
	} {
		if code, stderr := e.hook(t, c.stdin, c.args...); code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
	}
	e.agent(t, answering(inject.Delivery{}, nil))
	if code, stderr := e.hook(t, "", "--profile", "shop"); code != 1 || stderr != "quaymaster: this agent serves no CDI devices\n" {
		t.Errorf("an agent without an attacher: exit code %d, %s", code, stderr)
	}
	e.timeout = "soon"
	if code, stderr := e.hook(t, "", "--profile", "shop"); code != 1 || !strings.Contains(stderr, "needs a duration") {
		t.Errorf("a wrong flag: exit code %d, %s", code, stderr)
	}
}
