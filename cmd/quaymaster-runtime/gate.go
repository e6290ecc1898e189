package main

import (
	"bytes"
	"strings"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

const (
	// labelPrefix begins every label that concerns the agent.
	labelPrefix = "quaymaster."
	// knockInterval is how long to wait before the agent is tried again.
	knockInterval = 50 * time.Millisecond
	// courtesy is how long a container without a label of ours waits for an
	// agent that accepts and then hangs.
	courtesy = 2 * time.Second
)

// gate holds one container until the agent has answered for it.
type gate struct {
	settings
	call
}

// pass returns nil when the container may start, with its bundle changed as
// the agent wants it.
func (g gate) pass() error {
	b, err := openBundle(g.bundle)
	if err != nil {
		return err
	}
	defer b.close()
	request, err := spec.Facts(b.config, g.id)
	if err != nil {
		return because(b.path+"/config.json", err)
	}
	w := readWorkload(request.EngineDir, g.id)
	if w.labels == never {
		return nil
	}
	request.MemoryOnly = b.inMemory() && inMemory(g.root)
	// From here on values may be in this process: no core dump, no ptrace.
	// The kernel takes this back when runc is executed.
	if err := setUndumpable(); err != nil {
		return because("cannot protect this process", err)
	}
	answer, err := g.ask(request, w)
	if err != nil {
		return err
	}
	switch answer.Verdict {
	case wire.Refuse:
		return failure(answer.Message)
	case wire.Deliver:
		return g.deliver(b, request, answer, w.name)
	}
	return nil
}

// deliver writes what the agent answered into the bundle.
func (g gate) deliver(b *bundle, request wire.Request, answer wire.Answer, name string) error {
	if len(answer.Variables) > 0 && !request.MemoryOnly {
		return failure("container " + g.id + " gets variables, but the engine keeps " + b.path + " or " + g.root +
			" on a disk, where they would stay: put them on a tmpfs (the engine's exec-root, usually below /run), or deliver files")
	}
	config, err := spec.Apply(b.config, answer)
	if err != nil {
		return because("container "+g.id, err)
	}
	if err := g.leave(b, answer, name); err != nil {
		return because("container "+g.id, err)
	}
	return b.replace(config)
}

// labelState is what is known of a container's labels.
type labelState int

const (
	unknown  labelState = iota // the engine's file for the container does not tell
	labelled                   // it has a label of ours
	unlikely                   // ours is mentioned in the file, but in no label
	never                      // ours is mentioned nowhere
)

// workload is what the engine's own file tells of a container.
type workload struct {
	labels labelState
	name   string // how messages name it
	reason string // why it cannot do without the agent, as messages say it
}

// readWorkload looks into the engine's file for the container, Docker's
// config.v2.json. Its format is internal; so only a file that was read, names
// this container and says no makes a container one that is not ours.
func readWorkload(engineDir, id string) workload {
	w := workload{unknown, "container " + id, "may have a " + labelPrefix + "* label (the engine's own file for it does not tell)"}
	text := readEngineFile(engineDir, id)
	switch {
	case text == nil:
		return w
	case !bytes.Contains(text, []byte(labelPrefix)):
		w.labels = never
		return w
	}
	root := parseEngineFile(text, id)
	if root.Kind() == jsonedit.Missing {
		return w
	}
	w.name = nameOf(root, id)
	if w.labels = labelsOf(root.Get("Config")); w.labels == labelled {
		w.reason = "has a " + labelPrefix + "* label"
	}
	return w
}

// readEngineFile returns nothing where the file does not mention the container.
func readEngineFile(engineDir, id string) []byte {
	if engineDir == "" {
		return nil
	}
	text, err := readFile(engineDir + "/config.v2.json")
	if err != nil || !bytes.Contains(text, []byte(id)) {
		return nil
	}
	return text
}

// parseEngineFile returns the zero Node where the file is not the container's.
func parseEngineFile(text []byte, id string) jsonedit.Node {
	root, err := jsonedit.Parse(text)
	if err != nil {
		return jsonedit.Node{}
	}
	if own, _ := root.Get("ID").Text(); own != id {
		return jsonedit.Node{}
	}
	return root
}

// nameOf is how messages name the container.
func nameOf(root jsonedit.Node, id string) string {
	if name, _ := root.Get("Name").Text(); name != "" {
		return "container " + strings.TrimPrefix(name, "/") + " (" + id + ")"
	}
	return "container " + id
}

// labelsOf reads Config of config.v2.json; Docker writes Labels always.
func labelsOf(config jsonedit.Node) labelState {
	labels := config.Get("Labels")
	if labels.Kind() != jsonedit.Object && labels.Kind() != jsonedit.Null {
		return unknown
	}
	for name := range labels.Members() {
		if strings.HasPrefix(name, labelPrefix) {
			return labelled
		}
	}
	return unlikely
}

// ask knocks until an agent answers or the gate timeout is over. Where no
// label of ours is, no agent means: pass.
func (g gate) ask(request wire.Request, w workload) (wire.Answer, error) {
	message, err := request.Encode()
	if err != nil {
		return wire.Answer{}, because(w.name+": what the agent must know of it", err)
	}
	patience := g.timeout
	if w.labels == unlikely {
		patience = min(patience, courtesy)
	}
	deadline := time.Now().Add(patience)
	for {
		answer, err := exchange(g.socket, message, deadline)
		switch {
		case err == nil:
			return answer, nil
		case w.labels == unlikely:
			return wire.Answer{Verdict: wire.Pass}, nil
		case isProtocolError(err):
			return wire.Answer{}, because(w.name+" did not start: the agent at "+g.socket+
				" answered what this quaymaster-runtime cannot read; install both from the same release", err)
		case time.Until(deadline) <= knockInterval:
			return wire.Answer{}, because(w.name+" did not start: it "+w.reason+", and "+wire.NoAgent+" at "+g.socket+" within "+
				g.timeout.String()+"; start the agent (systemctl start quaymaster), then start the container again. The last try", err)
		}
		time.Sleep(knockInterval)
	}
}

// setUndumpable is prctl(PR_SET_DUMPABLE, 0) of linux/prctl.h.
func setUndumpable() error {
	const setDumpable = 4
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
