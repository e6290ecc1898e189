package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/daemon"
)

func TestMain(m *testing.M) {
	if os.Getenv("TEST_SERVICE") != "" {
		service()
		return
	}
	goleak.VerifyTestMain(m)
}

// service is a small service, which does by hand what the manual pages say: it
// answers every connection at its first socket with its number and what it was
// handed, and does what the connection asks for.
func service() {
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if os.Getenv("LISTEN_PID") != fmt.Sprint(os.Getpid()) || os.Getenv("LISTEN_FDS") != fmt.Sprint(len(names)) {
		panic("not handed over to this process: LISTEN_PID " + os.Getenv("LISTEN_PID"))
	}
	listener, err := net.FileListener(os.NewFile(3, names[0]))
	if err != nil {
		panic(err)
	}
	say("READY=1\nSTATUS=answers", -1)
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		order, _ := io.ReadAll(conn) // an order that cannot be read is none
		carryOut(string(order))
		fmt.Fprintf(conn, "%d %s", os.Getpid(), names)
		conn.Close()
	}
}

// carryOut does what a connection asks for.
func carryOut(order string) {
	switch order {
	case "keep":
		fd, err := unix.MemfdCreate("kept", 0)
		if err != nil {
			panic(err)
		}
		say("FDSTORE=1\nFDNAME=kept", fd)
	case "drop":
		say("FDSTOREREMOVE=1\nFDNAME=kept", -1)
	case "reload":
		say("RELOADING=1\nMONOTONIC_USEC=1", -1)
	}
}

func say(text string, fd int) {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		panic(err)
	}
	defer unix.Close(socket)
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	if err := unix.Sendmsg(socket, []byte(text), rights, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}, 0); err != nil {
		panic(err)
	}
}

func supervised(t *testing.T, o Options) *Supervisor {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o.Dir, o.Command = t.TempDir(), []string{self}
	o.Environment = append(o.Environment, "TEST_SERVICE=1")
	o.Sockets = []Socket{{"first", filepath.Join(o.Dir, "first.sock")}, {"second", filepath.Join(o.Dir, "second.sock")}}
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := patience(context.Background())
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// patience bounds what a test waits for at most; nothing takes that long.
func patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 30*time.Second)
}

// connect makes a connection and gives an order; the answer comes later.
func connect(t *testing.T, s *Supervisor, order string) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Sockets[0].Path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write([]byte(order)); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return conn
}

func answer(t *testing.T, s *Supervisor, conn *net.UnixConn) string {
	t.Helper()
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if err != nil || len(text) == 0 {
		t.Fatalf("no answer: %q, %v; the log ends with:\n%s", text, err, daemon.Tail(s.LogFile(), 10))
	}
	return string(text)
}

func must(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := patience(t.Context())
	defer cancel()
	if err := do(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestTheNextProcessAnswersWhoConnectedWhileNoneLived(t *testing.T) {
	s := supervised(t, Options{OnDemand: true})
	if s.Starts() != 0 {
		t.Fatal("a process was started before anybody connected")
	}
	first := answer(t, s, connect(t, s, ""))
	must(t, s.Kill)
	if s.State().PID != 0 {
		t.Fatalf("a process lives that nobody wants: %+v", s.State())
	}
	conn := connect(t, s, "") // nobody accepts it yet
	second := answer(t, s, conn)
	if first == second || s.Starts() != 2 {
		t.Errorf("%q after %q, %d starts", second, first, s.Starts())
	}
}

func TestTheStoreOutlivesProcesses(t *testing.T) {
	s := supervised(t, Options{})
	must(t, s.Ready)
	answer(t, s, connect(t, s, "keep"))
	must(t, s.Restart)
	if got := answer(t, s, connect(t, s, "")); !strings.HasSuffix(got, "[first second kept]") {
		t.Errorf("after a restart: %s", got)
	}
	must(t, s.Kill)
	if got := answer(t, s, connect(t, s, "drop")); !strings.HasSuffix(got, "[first second kept]") {
		t.Errorf("after a kill: %s", got)
	}
	must(t, s.Restart)
	if got := answer(t, s, connect(t, s, "")); !strings.HasSuffix(got, "[first second]") {
		t.Errorf("after it was dropped: %s", got)
	}
	if s.Starts() != 4 {
		t.Errorf("%d starts, want 4", s.Starts())
	}
}

func TestStateIsWhatTheMainProcessSays(t *testing.T) {
	s := supervised(t, Options{})
	must(t, s.Ready)
	if got := s.State(); got.Status != "answers" || got.Reloading || got.Stopping {
		t.Errorf("ready: %+v", got)
	}
	answer(t, s, connect(t, s, "reload"))
	must(t, func(ctx context.Context) error {
		return s.Await(ctx, func(state State) bool { return state.Reloading && !state.Ready })
	})
	// This test is another process: it is not heard.
	t.Setenv("NOTIFY_SOCKET", s.notifyPath())
	say("READY=1\nSTATUS=forged", -1)
	s.drain()
	if got := s.State(); got.Ready || got.Status != "answers" {
		t.Errorf("another process was heard: %+v", got)
	}
	if got := s.Stored(); !slices.Equal(got, nil) {
		t.Errorf("stored: %v", got)
	}
}
