package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const plaintext = "hunter2-correct-horse"

// deliver is a Deliverer made of a function.
type deliver func(context.Context, inject.Arrival) (inject.Delivery, error)

func (d deliver) Deliver(ctx context.Context, a inject.Arrival) (inject.Delivery, error) {
	return d(ctx, a)
}

// lines is a log that several goroutines write.
type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

type gate struct {
	socket string
	log    *lines
	stop   func() error // cancels Run and returns what it returned
}

// open runs a gate for the test's time.
func open(t *testing.T, timeout time.Duration, d deliver) gate {
	t.Helper()
	g := gate{socket: filepath.Join(t.TempDir(), "run", "runtime.sock"), log: &lines{}}
	listener, err := runtime.Listen(g.socket)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, g, runtime.Options{Listener: listener, Deliverer: d, Timeout: timeout})
}

func run(t *testing.T, g gate, o runtime.Options) gate {
	o.Log = slog.New(slog.NewTextHandler(g.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runtime.New(o).Run(ctx) }()
	g.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { g.stop() })
	return g
}

func dial(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func send(t *testing.T, conn net.Conn, request wire.Request) {
	t.Helper()
	text, err := request.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(text); err != nil {
		t.Fatal(err)
	}
}

// ask is one whole exchange.
func ask(t *testing.T, g gate, request wire.Request) wire.Answer {
	t.Helper()
	conn := dial(t, g.socket)
	send(t, conn, request)
	answer, err := wire.ReadAnswer(conn)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestPass(t *testing.T) {
	request := wire.Request{ID: "4f1c", UID: 1, GID: 2, UIDMap: []wire.IDMap{{Container: 1, Host: 2, Size: 3}},
		GIDMap: []wire.IDMap{{Container: 4, Host: 5, Size: 6}}, Mounts: []string{"/proc"}, EngineDir: "/e", MemoryOnly: true}
	want := inject.Arrival{Gate: "runtime", Container: "4f1c", User: &inject.Owner{UID: 1, GID: 2},
		UIDMap: []inject.IDMap{{Container: 1, Host: 2, Size: 3}}, GIDMap: []inject.IDMap{{Container: 4, Host: 5, Size: 6}},
		Mounts: []string{"/proc"}, EngineDir: "/e", MemoryOnly: true}
	g := open(t, time.Minute, func(_ context.Context, a inject.Arrival) (inject.Delivery, error) {
		if !reflect.DeepEqual(a, want) {
			t.Errorf("arrival %+v, want %+v", a, want)
		}
		return inject.Delivery{}, nil
	})
	if got := ask(t, g, request); got.Verdict != wire.Pass {
		t.Errorf("answer %v", got)
	}
	if err := g.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(g.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// The program beside the agent imports no more than it must, so the words are
// in two places.
func TestNoAgentIsOneThing(t *testing.T) {
	if inject.NoAgent != wire.NoAgent {
		t.Errorf("%q and %q", inject.NoAgent, wire.NoAgent)
	}
}

func TestDeliver(t *testing.T) {
	delivery := inject.Delivery{Source: "/trees/4f1c", Target: "/run/secrets",
		Variables: []inject.Variable{{Name: "TOKEN", Value: secret.NewValue([]byte(plaintext + "\xff\x00"))}}}
	g := open(t, time.Minute, func(context.Context, inject.Arrival) (inject.Delivery, error) { return delivery, nil })
	got := ask(t, g, wire.Request{ID: "4f1c"})
	if got.Verdict != wire.Deliver || got.Source != "/trees/4f1c" || got.Target != "/run/secrets" || len(got.Variables) != 1 ||
		got.Variables[0].Name != "TOKEN" || string(got.Variables[0].Value()) != plaintext+"\xff\x00" {
		t.Errorf("answer %+v", got)
	}
	if string(delivery.Variables[0].Value.Reveal()) != plaintext+"\xff\x00" {
		t.Error("sending wiped the broker's value")
	}
	delivery.Source = ""
	if got := ask(t, g, wire.Request{ID: "4f1c"}); got.Verdict != wire.Deliver || got.Source != "" || got.Target != "" {
		t.Errorf("variables only: %+v", got)
	}
	delivery.Variables[0].Value = secret.NewValue(make([]byte, wire.MaxAnswer))
	if got := ask(t, g, wire.Request{ID: "4f1c"}); got.Verdict != wire.Refuse || !strings.Contains(got.Message, "too large") {
		t.Errorf("variables beyond the limit: %+v", got)
	}
}

func TestRefuse(t *testing.T) {
	const reason = `container "web": ref "vault:kv/shop#x" is not granted`
	g := open(t, time.Minute, func(context.Context, inject.Arrival) (inject.Delivery, error) {
		return inject.Delivery{}, errors.New(reason)
	})
	if got := ask(t, g, wire.Request{ID: "4f1c"}); got.Verdict != wire.Refuse || got.Message != reason {
		t.Errorf("answer %+v", got)
	}
}

func TestTimeout(t *testing.T) {
	g := open(t, 50*time.Millisecond, func(ctx context.Context, _ inject.Arrival) (inject.Delivery, error) {
		<-ctx.Done()
		return inject.Delivery{}, ctx.Err()
	})
	if got := ask(t, g, wire.Request{ID: "4f1c"}); got.Verdict != wire.Refuse || got.Message != context.DeadlineExceeded.Error() {
		t.Errorf("answer %+v", got)
	}
	conn := dial(t, g.socket) // says nothing
	if got, err := wire.ReadAnswer(conn); err != nil || got.Verdict != wire.Refuse {
		t.Errorf("a silent peer: %+v, %v", got, err)
	}
}

func TestHangUpCancels(t *testing.T) {
	asked, cancelled := make(chan struct{}), make(chan error)
	g := open(t, time.Minute, func(ctx context.Context, _ inject.Arrival) (inject.Delivery, error) {
		close(asked)
		<-ctx.Done()
		cancelled <- ctx.Err()
		return inject.Delivery{}, ctx.Err()
	})
	conn := dial(t, g.socket)
	send(t, conn, wire.Request{ID: "4f1c"})
	<-asked
	conn.Close()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("the delivery ended with %v", err)
	}
}

// A runtime that waits when the agent stops must be able to ask the next one.
func TestStopClosesWithoutAnswer(t *testing.T) {
	asked := make(chan struct{})
	g := open(t, time.Minute, func(ctx context.Context, _ inject.Arrival) (inject.Delivery, error) {
		close(asked)
		<-ctx.Done()
		return inject.Delivery{}, ctx.Err()
	})
	silent, waiting := dial(t, g.socket), dial(t, g.socket)
	send(t, waiting, wire.Request{ID: "4f1c"})
	<-asked
	if err := g.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, conn := range []net.Conn{silent, waiting} {
		if got, err := wire.ReadAnswer(conn); !errors.Is(err, io.EOF) {
			t.Errorf("answer %+v, %v; want none", got, err)
		}
	}
}

func TestBadRequest(t *testing.T) {
	g := open(t, time.Minute, func(context.Context, inject.Arrival) (inject.Delivery, error) {
		t.Error("the deliverer was asked")
		return inject.Delivery{}, nil
	})
	for _, text := range []string{"GET / HTTP/1.1\r\n\r\n\n\n", wire.Protocol + "\n\n"} {
		conn := dial(t, g.socket)
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := wire.ReadAnswer(conn)
		if err != nil || got.Verdict != wire.Refuse || !strings.Contains(got.Message, "could not read") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestPanicShowsNoValue(t *testing.T) {
	var index int
	for name, d := range map[string]deliver{
		"of a value":  func(context.Context, inject.Arrival) (inject.Delivery, error) { panic(plaintext) },
		"of an error": func(context.Context, inject.Arrival) (inject.Delivery, error) { panic(errors.New(plaintext)) },
		"of the language": func(context.Context, inject.Arrival) (inject.Delivery, error) {
			return inject.Delivery{}, []error{}[index]
		},
	} {
		g := open(t, time.Minute, d)
		got := ask(t, g, wire.Request{ID: "4f1c"})
		if got.Verdict != wire.Refuse || !strings.Contains(got.Message, "failed inside") {
			t.Errorf("%s: %+v", name, got)
		}
		if again := ask(t, g, wire.Request{ID: "4f1c"}); again.Verdict != wire.Refuse {
			t.Errorf("%s: the gate is dead", name)
		}
		if err := g.stop(); err != nil {
			t.Error(err)
		}
		if log := g.log.String(); strings.Contains(log, plaintext) || !strings.Contains(log, "delivery panicked") || !strings.Contains(log, "4f1c") {
			t.Errorf("%s: log %s", name, log)
		}
	}
}

func TestRunListens(t *testing.T) {
	g := gate{socket: filepath.Join(t.TempDir(), "runtime.sock"), log: &lines{}}
	pass := deliver(func(context.Context, inject.Arrival) (inject.Delivery, error) { return inject.Delivery{}, nil })
	g = run(t, g, runtime.Options{Socket: g.socket, Deliverer: pass, Timeout: time.Minute})
	for {
		if conn, err := net.Dial("unix", g.socket); err == nil {
			conn.Close()
			break
		}
		time.Sleep(time.Millisecond)
	}
	if got := ask(t, g, wire.Request{ID: "4f1c"}); got.Verdict != wire.Pass {
		t.Errorf("answer %+v", got)
	}
	err := runtime.New(runtime.Options{Socket: g.socket, Deliverer: pass, Timeout: time.Minute}).Run(t.Context())
	if !errors.Is(err, runtime.ErrInUse) || !strings.Contains(err.Error(), g.socket) {
		t.Errorf("a second agent: %v", err)
	}
	if got := ask(t, g, wire.Request{ID: "4f1c"}); got.Verdict != wire.Pass {
		t.Errorf("the second agent disturbed the first: %+v", got)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "run", "runtime.sock")
	for range 2 { // the second time over what a killed agent leaves
		listener, err := runtime.Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]os.FileMode{socket: 0o600 | os.ModeSocket, filepath.Dir(socket): 0o711 | os.ModeDir} {
			if info, err := os.Stat(path); err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
			}
		}
		listener.SetUnlinkOnClose(false)
		listener.Close()
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := runtime.Listen(socket); err == nil || !strings.Contains(err.Error(), "no socket is in its place") {
		t.Errorf("over a file: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := runtime.Listen(filepath.Join(dir, "s")); !errors.Is(err, runtime.ErrUnsafe) || !strings.Contains(err.Error(), dir) {
		t.Errorf("in a directory that all may write: %v", err)
	}
	if _, err := runtime.Listen(filepath.Join(dir, "none", "none", "s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("where there is no parent: %v", err)
	}
	if _, err := runtime.Listen(filepath.Join(socket, "s")); err == nil {
		t.Error("below a file")
	}
}
