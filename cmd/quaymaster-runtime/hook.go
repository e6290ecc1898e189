package main

import (
	"bytes"
	"io"
	"os"
	"strings"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// runHook is the createRuntime hook of a CDI device. The container asks for a
// profile by having the device, so it never starts without the agent: an error
// is what the engine shows of the hook's stderr, and ends the start.
func runHook(s settings, args []string, err error) {
	if err == nil {
		err = passHook(s, args)
	}
	if err != nil {
		writeAll(2, []byte("quaymaster: "+err.Error()+"\n"))
		os.Exit(1)
	}
}

// passHook returns nil when the agent has mounted what the profile says.
func passHook(s settings, args []string) error {
	if len(args) != 2 || args[0] != spec.ProfileFlag || args[1] == "" {
		return failure(spec.HookCommand + " needs " + spec.ProfileFlag + " NAME, not " + strings.Join(args, " "))
	}
	profile := args[1]
	state, err := readState()
	if err != nil {
		return because("cannot read the state of the container, which the OCI runtime writes to a hook's stdin", err)
	}
	b, err := openBundle(state.bundle)
	if err != nil {
		return err
	}
	defer b.close()
	request, err := spec.HookFacts(b.config, state.id, state.bundle, spec.Placeholder(s.run))
	if err != nil {
		return because("container "+state.id, err)
	}
	request.Profile, request.PID = profile, state.pid
	root := parseEngineFile(readEngineFile(request.EngineDir, state.id), state.id)
	w := workload{labelled, nameOf(root, state.id), "has a device of the profile " + profile}
	answer, err := gate{settings: s}.ask(request, w)
	switch {
	case err != nil:
		return err
	case answer.Verdict == wire.Refuse:
		return failure(answer.Message)
	case answer.Verdict == wire.Deliver: // the agent itself mounts before it lets a hook pass
		return failure(w.name + " did not start: the agent did not mount the profile " + profile +
			"; install both from the same release")
	}
	return nil
}

// state is what a hook is told of its container (runtime.md, State).
type state struct {
	id, bundle string
	pid        uint32
}

func readState() (state, error) {
	var text bytes.Buffer
	if _, err := text.ReadFrom(io.LimitReader(file(0), 1<<20)); err != nil {
		return state{}, err
	}
	root, err := jsonedit.Parse(text.Bytes())
	if err != nil {
		return state{}, err
	}
	var s state
	s.id, _ = root.Get("id").Text()
	s.bundle, _ = root.Get("bundle").Text()
	s.pid, err = root.Get("pid").Uint32()
	if err != nil || s.pid == 0 || s.id == "" || s.bundle == "" {
		return s, failure("it does not name id, pid and bundle")
	}
	return s, nil
}
