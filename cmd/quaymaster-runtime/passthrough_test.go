package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// shellRunc is a runc that shows how it was called and ends as it is told to.
const shellRunc = `#!/bin/sh
case $1 in
show) pwd; cat; cat <&3; echo "to stderr" >&2; shift; printf '<%s>' "$@" ;;
environment) env -0 ;;
code) exit "$2" ;;
die) kill -s "$2" $$ ;;
wait) trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done ;;
esac
`

// through returns the program called with a shell's runc, and that runc alone.
func through(t *testing.T, args ...string) (command, direct *exec.Cmd) {
	t.Helper()
	runc := filepath.Join(t.TempDir(), "runc")
	if err := os.WriteFile(runc, []byte(shellRunc), 0o700); err != nil {
		t.Fatal(err)
	}
	return exec.Command(binary, append([]string{"--quaymaster-runc", runc}, args...)...), exec.Command(runc, args...)
}

// TestRuncGetsEverything: arguments, working directory, descriptors.
func TestRuncGetsEverything(t *testing.T) {
	command, direct := through(t, "show", "", " two words ", "--quaymaster-run", "ü\xff", "*")
	var ended [2][2]string
	for i, c := range []*exec.Cmd{command, direct} {
		third := filepath.Join(t.TempDir(), "third")
		writeFile(t, third, "descriptor three\n")
		file, err := os.Open(third)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var stdout, stderr bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr, c.ExtraFiles = strings.NewReader("from stdin\n"), &stdout, &stderr, []*os.File{file}
		c.Dir = "/"
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		ended[i] = [2]string{stdout.String(), stderr.String()}
	}
	if ended[0] != ended[1] || !strings.Contains(ended[0][0], "/\nfrom stdin\ndescriptor three\n<>< two words >") {
		t.Errorf("got %q, want %q", ended[0], ended[1])
	}
}

func TestRuncGetsTheEnvironment(t *testing.T) {
	given := []string{"A=1", "EMPTY=", "B=two words\nand a line", "PATH=/usr/bin:/bin", "NOTIFY_SOCKET=/x", loopVariable + "=1"}
	command, direct := through(t, "environment")
	var environments [2][]string
	for i, c := range []*exec.Cmd{command, direct} {
		c.Env = given
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		environments[i] = slices.DeleteFunc(strings.Split(string(out), "\x00"), func(entry string) bool {
			return strings.HasPrefix(entry, loopVariable+"=")
		})
		slices.Sort(environments[i])
	}
	if !slices.Equal(environments[0], environments[1]) || !slices.Contains(environments[0], "B=two words\nand a line") {
		t.Errorf("got %q, want %q", environments[0], environments[1])
	}
}

func TestEveryExitCode(t *testing.T) {
	for code := range 256 {
		command, _ := through(t, "code", strconv.Itoa(code))
		command.Run()
		if got := command.ProcessState.ExitCode(); got != code {
			t.Errorf("exit code %d instead of %d", got, code)
		}
	}
}

func TestDeathBySignal(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"KILL": syscall.SIGKILL, "SEGV": syscall.SIGSEGV, "HUP": syscall.SIGHUP, "PIPE": syscall.SIGPIPE} {
		command, _ := through(t, "die", name)
		command.Run()
		if status := command.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != signal {
			t.Errorf("%s: %v", name, command.ProcessState)
		}
	}
}

// TestSignalReachesRunc: it is the same process.
func TestSignalReachesRunc(t *testing.T) {
	command, _ := through(t, "wait")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	command.Wait()
	if code := command.ProcessState.ExitCode(); code != 42 {
		t.Errorf("exit code %d", code)
	}
}
