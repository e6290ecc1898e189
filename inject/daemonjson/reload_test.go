package daemonjson

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// playEnv makes the test binary play a daemon that says when it is told to
// read its configuration again.
const playEnv = "QUAYMASTER_TEST_PLAY_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(playEnv) == "" {
		os.Exit(m.Run())
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	fmt.Println("running")
	<-hangups
	fmt.Println("reloaded")
}

// start runs a process that the kernel knows by name, and returns its output.
func start(t *testing.T, name string, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	path := filepath.Join(t.TempDir(), name)
	must(t, os.Symlink(self, path))
	process := exec.Command(path, args...)
	process.Env = append(os.Environ(), playEnv+"=1")
	output, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() {
		process.Process.Kill() // it has ended when all went well
		process.Wait()
	})
	lines := bufio.NewScanner(output)
	if !lines.Scan() || lines.Text() != "running" {
		t.Fatalf("the process says %q", lines.Text())
	}
	return process, lines
}

func pidFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.pid")
	write(t, path, text, 0o644)
	return path
}

func TestReload(t *testing.T) {
	process, lines := start(t, "dockerd")
	must(t, Reload(pidFile(t, strconv.Itoa(process.Process.Pid)+"\n")))
	if !lines.Scan() || lines.Text() != "reloaded" {
		t.Errorf("the daemon says %q", lines.Text())
	}
}

func TestReloadSignalsNobodyElse(t *testing.T) {
	process, _ := start(t, "other")
	pid := process.Process.Pid
	file := pidFile(t, strconv.Itoa(pid))
	err := Reload(file)
	if want := fmt.Sprintf("dockerd is not running: %s names process %d, which is \"other\"", file, pid); !errors.Is(err, ErrNotRunning) || err.Error() != want {
		t.Errorf("%v", err)
	}

	must(t, process.Process.Kill())
	if state, err := process.Process.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process ended by something else: %v, %v", state, err)
	}
	err = Reload(file)
	if want := fmt.Sprintf("dockerd is not running: %s names process %d, which is gone", file, pid); !errors.Is(err, ErrNotRunning) || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestReloadWithoutAProcess(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "docker.pid")
	if err := Reload(missing); !errors.Is(err, ErrNotRunning) || err.Error() != "dockerd is not running: there is no "+missing {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"", "docker", "0", "1", "-5", "99999999999999999999"} {
		file := pidFile(t, text)
		if err := Reload(file); err == nil || err.Error() != "finding dockerd: "+file+" does not hold the ID of a process" {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Reload(t.TempDir()); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("%v", err)
	}
}

func TestCheckFlags(t *testing.T) {
	for _, c := range []struct {
		args      []string
		isDefault bool
		want      string
	}{
		{[]string{"--debug", "--data-root=/x"}, true, ""},
		{[]string{"--default-runtime", "runc"}, false, ""},
		{[]string{"--default-runtime=runc"}, true, "take --default-runtime out of its command line"},
		{[]string{"--add-runtime", "a=/b"}, false, "take --add-runtime out of its command line"},
	} {
		process, _ := start(t, "dockerd", c.args...)
		err := CheckFlags(pidFile(t, strconv.Itoa(process.Process.Pid)), Change{Default: c.isDefault})
		if (err == nil) != (c.want == "") || (err != nil && (!errors.Is(err, ErrFlags) || !strings.Contains(err.Error(), c.want))) {
			t.Errorf("%v, default %v: %v", c.args, c.isDefault, err)
		}
	}
	if err := CheckFlags(filepath.Join(t.TempDir(), "none"), Change{}); err != nil {
		t.Errorf("without a dockerd: %v", err)
	}
}
