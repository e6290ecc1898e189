package daemon

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, script string) *Daemon {
	t.Helper()
	d, err := Start(exec.Command("/bin/sh", "-c", script), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Kill(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// never is an answer of a server that does not get ready.
func never(context.Context) error { return errors.New("not yet") }

func TestUntilReportsDeathWithTheLog(t *testing.T) {
	d := shell(t, "echo no such storage; exit 3")
	err := d.Until(t.Context(), never)
	if !errors.Is(err, ErrExited) {
		t.Fatalf("got %v, want ErrExited", err)
	}
	for _, want := range []string{"exit status 3", "not yet", "no such storage"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	d := shell(t, "exec sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Until(ctx, never); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
}

func TestStop(t *testing.T) {
	d := shell(t, "exec sleep 1000")
	for range 2 { // the second finds it gone
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Until(t.Context(), never); !errors.Is(err, ErrExited) {
		t.Fatalf("got %v, want ErrExited", err)
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	d := shell(t, "trap '' TERM; echo ready; exec sleep 1000")
	deaf := func(context.Context) error {
		if Tail(d.log, 1) != "ready" {
			return errors.New("no trap yet")
		}
		return nil
	}
	if err := d.Until(t.Context(), deaf); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := d.Stop(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "had to be killed") {
		t.Fatalf("got %v, want that it had to be killed", err)
	}
	select {
	case <-d.Exited():
	default:
		t.Fatal("Stop returned before the process was gone")
	}
}

func TestStartNamesWhatIsMissing(t *testing.T) {
	_, err := Start(exec.Command("/nowhere/vault"), filepath.Join(t.TempDir(), "log"))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/vault") {
		t.Fatalf("got %v, want an error that names the binary", err)
	}
}
