package runtime_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// mounts is a RootAttacher that keeps what it was asked for, and an Ender that
// keeps which trees have ended.
type mounts struct {
	err   error
	asked []string
	ended []string
}

func (m *mounts) AttachAt(_ context.Context, pid int, root, source, target string) error {
	m.asked = []string{root, source, target}
	if pid != 4711 {
		return errors.New("another process")
	}
	return m.err
}

func (m *mounts) End(_ context.Context, tree string) { m.ended = append(m.ended, tree) }

func openHook(t *testing.T, m *mounts, d deliver) gate {
	t.Helper()
	g := gate{socket: filepath.Join(t.TempDir(), "run", "runtime.sock"), log: &lines{}}
	listener, err := runtime.Listen(g.socket)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, g, runtime.Options{Listener: listener, Deliverer: d, Timeout: time.Minute, Attacher: m, Ender: m})
}

var hookRequest = wire.Request{ID: "4f1c", UID: 1, GID: 2, Mounts: []string{"/proc"}, Profile: "shop", PID: 4711, Root: "/rootfs"}

func TestHookIsMountedFor(t *testing.T) {
	var trees []string
	m := &mounts{}
	g := openHook(t, m, func(_ context.Context, a inject.Arrival) (inject.Delivery, error) {
		trees = append(trees, a.Tree)
		want := inject.Arrival{Gate: "cdi", Container: "4f1c", Tree: a.Tree, Profile: a.Profile, User: &inject.Owner{UID: 1, GID: 2},
			Mounts: []string{"/proc"}, FilesOnly: true, PID: 4711}
		if !reflect.DeepEqual(a, want) {
			t.Errorf("arrival %+v, want %+v", a, want)
		}
		return inject.Delivery{Source: "/trees/x", Target: "/run/secrets"}, nil
	})
	other := hookRequest
	other.Profile = "other"
	for _, r := range []wire.Request{hookRequest, other, hookRequest} {
		if got := ask(t, g, r); got.Verdict != wire.Pass {
			t.Errorf("answer %+v", got)
		}
	}
	if want := []string{"/rootfs", "/trees/x", "/run/secrets"}; !reflect.DeepEqual(m.asked, want) || len(m.ended) != 0 {
		t.Errorf("attached %q, ended %q", m.asked, m.ended)
	}
	if trees[0] != trees[2] || trees[0] == trees[1] || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(trees[0]) {
		t.Errorf("trees %q", trees)
	}
}

func TestHookIsRefused(t *testing.T) {
	files := inject.Delivery{Source: "/trees/x", Target: "/run/secrets"}
	variables := inject.Delivery{Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext))}}}
	for name, c := range map[string]struct {
		delivery inject.Delivery
		deliver  error
		attach   error
		want     string
		ended    int
	}{
		"refused":       {inject.Delivery{}, errors.New("not granted"), nil, "not granted", 0},
		"mount fails":   {files, nil, errors.New("a link is in the way"), `container 4f1c did not start: mount the profile "shop" at /run/secrets: a link is in the way`, 1},
		"has variables": {variables, nil, nil, "cannot give variables", 1},
	} {
		m := &mounts{err: c.attach}
		g := openHook(t, m, func(context.Context, inject.Arrival) (inject.Delivery, error) { return c.delivery, c.deliver })
		if got := ask(t, g, hookRequest); got.Verdict != wire.Refuse || !strings.Contains(got.Message, c.want) || len(m.ended) != c.ended {
			t.Errorf("%s: %+v, ended %q", name, got, m.ended)
		}
	}
	g := open(t, time.Minute, func(context.Context, inject.Arrival) (inject.Delivery, error) {
		t.Error("the deliverer was asked")
		return files, nil
	})
	if got := ask(t, g, hookRequest); got.Verdict != wire.Refuse || !strings.Contains(got.Message, "serves no CDI devices") {
		t.Errorf("without an attacher: %+v", got)
	}
}

func TestHookWithNothingToMount(t *testing.T) {
	m := &mounts{}
	g := openHook(t, m, func(context.Context, inject.Arrival) (inject.Delivery, error) { return inject.Delivery{}, nil })
	if got := ask(t, g, hookRequest); got.Verdict != wire.Pass || m.asked != nil {
		t.Errorf("answer %+v, attached %q", got, m.asked)
	}
}

func TestExecVariables(t *testing.T) {
	delivery := inject.Delivery{ExecVariables: true, Source: "/s", Target: "/t"}
	g := open(t, time.Minute, func(context.Context, inject.Arrival) (inject.Delivery, error) { return delivery, nil })
	if got := ask(t, g, wire.Request{ID: "4f1c"}); got.ExecVariables {
		t.Error("without a variable")
	}
	delivery.Variables = []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext))}}
	if got := ask(t, g, wire.Request{ID: "4f1c"}); !got.ExecVariables {
		t.Errorf("answer %+v", got)
	}
}
