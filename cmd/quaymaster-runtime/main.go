// Command quaymaster-runtime is an OCI runtime that holds a container until
// the agent has given it what it was granted, and leaves everything else to
// the engine's own runc.
//
// The engine calls it in runc's place. Its own settings stand before runc's
// arguments (runtimeArgs in Docker's daemon.json):
//
//	--quaymaster-run DIR              the agent's directory; the socket is DIR/runtime.sock (default /run/quaymaster)
//	--quaymaster-runc PATH            the real runtime (default: runc on PATH)
//	--quaymaster-gate-timeout 30s     how long a start waits for the agent
//	--quaymaster-version              print the version and exit
//
// Every call but create and run becomes runc at once: exec, same process, same
// arguments. Before create and run the container passes the gate: gate.go
// decides whether the agent is asked and what follows from its answer,
// bundle.go reads and rewrites the bundle's config.json, agent.go speaks to the
// agent. A container that carries no label of ours never depends on the agent.
// Where the gate left word of it, a process that is started later gets the same
// variables: exec.go. Where it left word of a tree, start first looks whether the
// container will see it: placed.go.
//
// The program is also the hook of a CDI device, quaymaster-runtime … cdi-hook
// --profile NAME: hook.go.
//
// The program runs before each start of a container, twice, so it keeps to
// packages that cost nothing at start: no net, no fmt, no encoding/json. A test
// holds it to that.
package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
)

// version is set when a release is built.
var version = "dev"

// loopVariable carries the ID of the process through exec: who finds his own
// ID there has been executed by himself.
const loopVariable = "QUAYMASTER_RUNTIME_PID"

func main() {
	s, args, err := parseSettings(os.Args[1:])
	if err == nil && s.printVersion {
		syscall.Write(1, []byte(version+"\n"))
		return
	}
	if len(args) > 0 && args[0] == spec.HookCommand {
		runHook(s, args[1:], err)
		return
	}
	call := parseCall(args)
	if err == nil {
		err = run(s, call, args)
	}
	fail(call, err) // without an error, run does not return
}

// run passes the gate where there is one and becomes runc.
func run(s settings, call call, args []string) error {
	runc, err := findRunc(s.runc)
	if err != nil {
		return err
	}
	if call.creates() {
		g := gate{settings: s, call: call}
		if err := g.pass(); err != nil {
			return err
		}
	}
	if err := call.verify(runc, args); err != nil {
		return err
	}
	if args, err = call.withVariables(args); err != nil {
		return err
	}
	environment, err := markEnvironment(syscall.Environ(), syscall.Getpid())
	if err != nil {
		return err
	}
	err = syscall.Exec(runc, append([]string{runc}, args...), environment)
	return because("cannot execute "+runc+"; set --quaymaster-runc to the engine's own runc", err)
}

// findRunc returns the path of the real runtime, which must not be this program.
func findRunc(path string) (string, error) {
	var err error
	if !strings.Contains(path, "/") {
		if path, err = lookPath(path); err != nil {
			return "", err
		}
	}
	var other, own syscall.Stat_t
	if err := syscall.Stat(path, &other); err != nil {
		return "", because("the real runtime "+path+" is not there; set --quaymaster-runc to the engine's own runc", err)
	}
	if err := syscall.Stat("/proc/self/exe", &own); err == nil && own.Dev == other.Dev && own.Ino == other.Ino {
		return "", failure(path + " is quaymaster-runtime itself; set --quaymaster-runc to the engine's own runc")
	}
	return path, nil
}

// lookPath finds an executable file of that name on PATH.
func lookPath(name string) (string, error) {
	search := os.Getenv("PATH")
	if search == "" {
		search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for dir := range strings.SplitSeq(search, ":") {
		path := dir + "/" + name
		var st syscall.Stat_t
		if strings.HasPrefix(dir, "/") && syscall.Stat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG && st.Mode&0o111 != 0 {
			return path, nil
		}
	}
	return "", failure("there is no " + name + " on PATH (" + search + "); set --quaymaster-runc to the engine's own runc")
}

// markEnvironment adds the loop mark, or fails when it is there: the real
// runtime led back here, as a copy or a script would.
func markEnvironment(environment []string, pid int) ([]string, error) {
	mark := loopVariable + "=" + strconv.Itoa(pid)
	kept := make([]string, 0, len(environment)+1)
	for _, entry := range environment {
		if entry == mark {
			return nil, failure("the real runtime leads back to quaymaster-runtime; set --quaymaster-runc to the engine's own runc")
		}
		if !strings.HasPrefix(entry, loopVariable+"=") {
			kept = append(kept, entry)
		}
	}
	return append(kept, mark), nil
}
