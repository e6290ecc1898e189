//go:build integration

package api

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOnlyRootIsAnswered needs root, to be somebody else.
func TestOnlyRootIsAnswered(t *testing.T) {
	path, log, _ := serve(t, scripted{containers: []Container{web}}, time.Minute)
	for dir := filepath.Dir(path); dir != os.TempDir(); dir = filepath.Dir(dir) { // as if somebody had opened every door
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if answer, err := askAs(65534, path); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("closed socket, another user: %q, %v", answer, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if answer, _ := askAs(65534, path); answer != "" || !strings.Contains(log.String(), "user 65534") {
		t.Errorf("open socket, another user: %q; log: %s", answer, log)
	}
	if answer, err := askAs(0, path); err != nil || !strings.Contains(answer, web.Name) {
		t.Errorf("root: %q, %v", answer, err)
	}
}

// askAs asks as another user: a thread that is somebody else, and ends here.
func askAs(uid uintptr, path string) (answer string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if _, _, failure := syscall.RawSyscall(syscall.SYS_SETRESUID, uid, uid, uid); failure != 0 {
			err = failure
			return
		}
		var conn net.Conn
		if conn, err = net.Dial("unix", path); err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", pathContainers)
		var text []byte
		text, err = io.ReadAll(conn)
		answer = string(text)
	}()
	<-done
	return answer, err
}
