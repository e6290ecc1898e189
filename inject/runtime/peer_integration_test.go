//go:build integration

package runtime_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/inject"
)

// TestPeerOfAnotherUser needs root: this same binary, run again as nobody,
// knocks at a socket whose mode would let it in.
func TestPeerOfAnotherUser(t *testing.T) {
	if socket := os.Getenv("QUAYMASTER_TEST_KNOCK"); socket != "" {
		knock(t, socket)
		return
	}
	g := open(t, time.Minute, func(context.Context, inject.Arrival) (inject.Delivery, error) {
		t.Error("the deliverer was asked")
		return inject.Delivery{}, nil
	})
	if err := os.Chmod(g.socket, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir, up := filepath.Dir(g.socket), 0; up < 3; dir, up = filepath.Dir(dir), up+1 { // those that t.TempDir made
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("/proc/self/exe", "-test.run=^TestPeerOfAnotherUser$", "-test.v")
	command.Env = append(os.Environ(), "QUAYMASTER_TEST_KNOCK="+g.socket)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), "turned away") {
		t.Fatalf("%v\n%s", err, out)
	}
	if log := g.log.String(); !strings.Contains(log, "of user 65534") {
		t.Errorf("log %s", log)
	}
}

func knock(t *testing.T, socket string) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); len(got) > 0 {
		t.Fatalf("answer %q, %v", got, err)
	}
	t.Log("turned away")
}
