package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/test/daemon"
	systemd "github.com/quaymaster/quaymaster/test/supervisor"
)

// supervised is a service that has nothing of the agent but its supervisor.
// Each connection to the socket "agent" is one order and one answer, a line each.
func supervised() {
	s := newSupervisor(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	listener := s.listener(socketAgent)
	go s.watch(context.Background(), func(context.Context) {}) // to the end of the process
	s.close()
	s.ready("answers\nREADY=0")
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		order, _ := bufio.NewReader(conn).ReadString('\n') // an order that cannot be read is none
		fmt.Fprintln(conn, s.carryOut(strings.TrimSpace(order)))
		conn.Close()
	}
}

// carryOut does what a connection asks for.
func (s *supervisor) carryOut(order string) any {
	verb, content, _ := strings.Cut(order, " ")
	switch verb {
	case "pid":
		return os.Getpid()
	case "keep":
		return s.keep(heldName, []byte(content))
	case "kept":
		return fmt.Sprintf("%q", s.kept(heldName))
	case "keep-open": // as nobody should
		fd, err := unix.MemfdCreate("open", unix.MFD_ALLOW_SEALING)
		if err != nil {
			return err
		}
		return s.send("FDSTORE=1\nFDNAME="+heldName, fd)
	case "environment":
		return os.Environ()
	}
	return "what?"
}

func startSupervised(t *testing.T, o systemd.Options) *systemd.Supervisor {
	t.Helper()
	o.Dir = t.TempDir()
	o.Command = []string{programAs(t, "supervised")}
	o.Sockets = append(o.Sockets, systemd.Socket{Name: socketAgent, Path: filepath.Join(o.Dir, "agent.sock")})
	s, err := systemd.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// programAs is this test binary as the program of another name: see TestMain.
func programAs(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	return program
}

func order(t *testing.T, socket, line string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintln(conn, line)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("order %q: %v", line, err)
	}
	return strings.TrimSpace(answer)
}

func orderOf(t *testing.T, s *systemd.Supervisor, line string) string {
	t.Helper()
	return order(t, s.Sockets[len(s.Sockets)-1].Path, line)
}

func within(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := do(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestWhoConnectsWhileNoAgentLivesIsAnsweredByTheNext is what makes an agent's
// restart one that no container's start fails of.
func TestWhoConnectsWhileNoAgentLivesIsAnsweredByTheNext(t *testing.T) {
	s := startSupervised(t, systemd.Options{OnDemand: true})
	first := orderOf(t, s, "pid")
	for range 3 {
		within(t, s.Kill)
		if s.State().PID != 0 {
			t.Fatalf("an agent lives: %+v", s.State())
		}
		if next := orderOf(t, s, "pid"); next == first {
			t.Fatalf("answered by the agent that was killed, %s", next)
		}
	}
}

func TestWhatIsHeldGoesToTheNextAgentOnce(t *testing.T) {
	s := startSupervised(t, systemd.Options{})
	within(t, s.Ready)
	for _, content := range []string{"old", "new", strings.Repeat("x", 1<<20)} { // the last one stands
		if got := orderOf(t, s, "keep "+content); got != "<nil>" {
			t.Fatal(got)
		}
		if got := s.Stored(); len(got) != 1 || got[0] != heldName { // keep waited until it was read
			t.Fatalf("stored: %v", got)
		}
	}
	within(t, s.Kill)
	if got, want := orderOf(t, s, "kept"), fmt.Sprintf("%q", strings.Repeat("x", 1<<20)); got != want {
		t.Errorf("%d bytes came back, want %d", len(got), len(want))
	}
	if got := orderOf(t, s, "kept"); got != `""` {
		t.Errorf("given away twice: %d bytes", len(got))
	}
	within(t, s.Restart)
	if got := orderOf(t, s, "kept"); got != `""` || len(s.Stored()) != 0 {
		t.Errorf("still in the store: %d bytes, %v", len(got), s.Stored())
	}
}

func TestAHandOverThatOthersCouldChangeIsIgnored(t *testing.T) {
	s := startSupervised(t, systemd.Options{})
	within(t, s.Ready)
	if got := orderOf(t, s, "keep-open"); got != "<nil>" {
		t.Fatal(got)
	}
	within(t, s.Restart)
	if got := orderOf(t, s, "kept"); got != `""` {
		t.Errorf("it was used: %s", got)
	}
	if log := daemon.Tail(s.LogFile(), 20); !strings.Contains(log, "not sealed") {
		t.Errorf("no warning in the log:\n%s", log)
	}
	within(t, s.Restart)
	if names := s.Stored(); len(names) != 0 {
		t.Errorf("it stays in the store: %v", names)
	}
}

func TestTheSupervisorIsTold(t *testing.T) {
	s := startSupervised(t, systemd.Options{Watchdog: 20 * time.Millisecond, Environment: []string{"KEPT=1"}})
	within(t, func(ctx context.Context) error {
		return s.Await(ctx, func(state systemd.State) bool { return state.Ready && state.Pings > 3 })
	})
	if got := s.State().Status; got != "answers READY=0" { // a text is never more than one assignment
		t.Errorf("status: %q", got)
	}
	if got := orderOf(t, s, "environment"); !strings.Contains(got, "KEPT=1") || strings.Contains(got, "LISTEN_") ||
		strings.Contains(got, "NOTIFY_SOCKET") || strings.Contains(got, "WATCHDOG_") {
		t.Errorf("children of the agent would take this for their own: %s", got)
	}
	log := new(bytes.Buffer)
	far := &supervisor{log: slog.New(slog.NewTextHandler(log, nil)), socket: "/nowhere"}
	far.reloading()
	far.status("x")
	far.stopping()
	if got := strings.Count(log.String(), "was not told"); got != 3 {
		t.Errorf("%d of 3 messages were missed aloud:\n%s", got, log)
	}
}

func TestSocketsThatNobodyWantsAreClosed(t *testing.T) {
	dir := t.TempDir()
	s := startSupervised(t, systemd.Options{Sockets: []systemd.Socket{
		{Name: "strange", Path: filepath.Join(dir, "strange.sock")},
		{Name: socketPlugin, Path: filepath.Join(dir, "plugin.sock")},
	}})
	within(t, s.Ready)
	log := daemon.Tail(s.LogFile(), 20)
	for _, want := range []string{"name=strange", "no such name is known", "name=plugin", "stop its unit"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}

func TestWithoutASupervisorThereIsNothing(t *testing.T) {
	s := newSupervisor(slog.New(slog.DiscardHandler))
	s.ready("alone")
	if s.listener(socketRuntime) != nil || s.kept(heldName) != nil {
		t.Error("something was handed over")
	}
	if err := s.keep(heldName, []byte("x")); !errors.Is(err, errNoStore) {
		t.Errorf("keep: %v", err)
	}
	within(t, func(ctx context.Context) error {
		return s.watch(ctx, func(context.Context) { t.Error("probed for nobody") })
	})
	s.close()
}
