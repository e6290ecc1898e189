//go:build integration

package main

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/test/daemon"
)

// TestSystemdsOwnActivation has systemd's own program hand over the socket,
// so that the stand-in is not the only judge of what is understood.
func TestSystemdsOwnActivation(t *testing.T) {
	dir := t.TempDir()
	socket, log := filepath.Join(dir, "agent.sock"), filepath.Join(dir, "log")
	activate, err := daemon.Start(exec.Command("systemd-socket-activate", "--listen="+socket, "--fdname="+socketAgent, programAs(t, "supervised")), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := activate.Kill(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = activate.Until(ctx, func(context.Context) error {
		conn, err := net.Dial("unix", socket) // no order, so nothing is answered; it is what starts the service
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := order(t, socket, "pid"); got != strconv.Itoa(activate.PID()) { // it becomes the service
		t.Errorf("process %s answered, want %d; log:\n%s", got, activate.PID(), daemon.Tail(log, 20))
	}
	if got := order(t, socket, "keep x"); got != errNoStore.Error() {
		t.Errorf("it keeps nothing, and says %q", got)
	}
}
