//go:build integration

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	real "github.com/quaymaster/quaymaster/test/engine"
)

// runcs are the real runtimes of the engines that this run has.
func runcs(t *testing.T) map[string]string {
	t.Helper()
	debian, err := lookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{real.Debian.String(): debian}
	if newest := os.Getenv("QUAYMASTER_ENGINE"); newest != "" {
		all[real.Newest.String()] = newest + "/bin/runc"
	}
	return all
}

// TestRealRuncIsAsItWas calls each of the real runc's commands, rightly and
// wrongly, with and without the program in front of it: nobody can tell.
func TestRealRuncIsAsItWas(t *testing.T) {
	var calls []string
	for _, command := range append(commands[:], "shoe", "--shoe", "--version", "--help", "") {
		calls = append(calls, command+" --help")
		if command != "create" && command != "run" && command != "init" { // these ask the agent, or another runc
			calls = append(calls, command, command+" none", command+" --shoe none", command+" none 1 2 3")
		}
	}
	calls = append(calls, "exec --process /none none", "exec -p /none --tty none", "kill --all none KILL", "delete --force none", "list --format json", "ps --format json none")
	for kind, runc := range runcs(t) {
		t.Run(kind, func(t *testing.T) {
			for _, call := range calls {
				for _, format := range []string{"text", "json"} {
					want, got := callRunc(t, format, call, runc), callRunc(t, format, call, binary, "--quaymaster-runc", runc)
					if got != want {
						t.Errorf("%q: got %+v\nwant %+v", call, got, want)
					}
				}
			}
		})
	}
}

// ending is all that a call of runc leaves.
type ending struct {
	code                    int
	stdout, stderr, log, in string
}

var clock = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)`)

// callRunc calls it in a new directory, with its root and its log there.
func callRunc(t *testing.T, format, call string, program ...string) ending {
	t.Helper()
	dir := t.TempDir()
	args := append(program[1:], "--root", dir+"/root", "--log", dir+"/log", "--log-format", format)
	command := exec.Command(program[0], append(args, strings.Fields(call)...)...)
	if err := os.Mkdir(dir+"/cwd", 0o700); err != nil {
		t.Fatal(err)
	}
	command.Dir = dir + "/cwd"
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Run()
	log, _ := os.ReadFile(dir + "/log") // there is none where nothing went wrong
	left, err := filepath.Glob(dir + "/cwd/*")
	if err != nil {
		t.Fatal(err)
	}
	plain := func(text string) string {
		return clock.ReplaceAllString(strings.ReplaceAll(text, dir, "DIR"), "TIME")
	}
	return ending{command.ProcessState.ExitCode(), plain(stdout.String()), plain(stderr.String()), plain(string(log)), plain(strings.Join(left, " "))}
}
