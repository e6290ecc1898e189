//go:build integration

package plugin_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/inject/plugin"
)

// TestPeerOfAnotherUser needs root: this same binary, run again as nobody,
// knocks at a socket whose mode would let it in.
func TestPeerOfAnotherUser(t *testing.T) {
	if path := os.Getenv("QUAYMASTER_TEST_KNOCK"); path != "" {
		if got := post(t.Context(), client(t, path), "X.Greet", `{"Name":"me"}`); got.err == nil {
			t.Fatalf("answer %+v", got)
		}
		t.Log("turned away")
		return
	}
	path, listener := open(t)
	serve(t, plugin.Options{Listener: listener, Subsystems: subsystem(map[string]plugin.Call{
		"X.Greet": func(context.Context, []byte) ([]byte, error) { t.Error("called"); return nil, nil }})})
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir, up := filepath.Dir(path), 0; up < 4; dir, up = filepath.Dir(dir), up+1 { // those that plugin.Listen and t.TempDir made
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("/proc/self/exe", "-test.run=^TestPeerOfAnotherUser$", "-test.v")
	command.Env = append(os.Environ(), "QUAYMASTER_TEST_KNOCK="+path)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), "turned away") {
		t.Fatalf("%v\n%s", err, out)
	}
}
