package main

import (
	"strings"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// markName is the file that the gate leaves in a bundle whose variables later
// processes get too. It names the container and the variables; the values are
// in the bundle's config.json and nowhere else.
const markName = "quaymaster-exec"

// mark leaves the file, or takes away that of an earlier run.
func (b *bundle) mark(id string, answer wire.Answer) error {
	if !answer.ExecVariables {
		return b.forget(markName)
	}
	inherited, err := spec.Inherit(b.config, answer.Variables)
	if err != nil {
		return err
	}
	return b.put(markName, encodeMark(id, inherited), nil)
}

// withVariables returns the arguments of runc's exec with the variables that
// the container inherits in the process's JSON, which then lies in memory. Any
// other call stays as it is, after one look at most.
func (c call) withVariables(args []string) ([]string, error) {
	if c.command != "exec" || c.process == "" || c.id == "" {
		return args, nil
	}
	inherited := decodeMark(readNote(c.bundlePath(), markName, c.id))
	if len(inherited) == 0 {
		return args, nil
	}
	file, err := c.rewriteProcess(c.bundlePath(), inherited)
	if err != nil {
		return args, because("a process in container "+c.id+" was not started: its variables", err)
	}
	changed := append([]string(nil), args...)
	flag, _, inline := strings.Cut(args[c.processAt], "=")
	if changed[c.processAt] = file; inline && strings.HasPrefix(flag, "-") {
		changed[c.processAt] = flag + "=" + file
	}
	return changed, nil
}

// rewriteProcess returns the path of the new process JSON.
func (c call) rewriteProcess(bundlePath string, inherited []spec.Inherited) (string, error) {
	if err := setUndumpable(); err != nil {
		return "", because("cannot protect this process", err)
	}
	process, err := readFile(c.process)
	if err != nil {
		return "", because("cannot read "+c.process, err)
	}
	b, err := openBundle(bundlePath)
	if err != nil {
		return "", err
	}
	defer b.close()
	if process, err = spec.ApplyExec(process, b.config, inherited); err != nil {
		return "", err
	}
	return memoryFile(process)
}

// encodeMark writes a line for each variable: its name, and what the engine
// gives under that name.
func encodeMark(id string, inherited []spec.Inherited) []byte {
	var lines [][]string
	for _, i := range inherited {
		lines = append(lines, append([]string{i.Name}, i.Engine...))
	}
	return encodeNote(markName, id, lines)
}

func decodeMark(lines [][]string) (inherited []spec.Inherited) {
	for _, words := range lines {
		inherited = append(inherited, spec.Inherited{Name: words[0], Engine: words[1:]})
	}
	return inherited
}
