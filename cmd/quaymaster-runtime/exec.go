package main

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// markName is the file that the gate leaves in a bundle whose variables later
// processes get too. It names the container and the variables; the values are
// in the bundle's config.json and nowhere else.
const (
	markName   = "quaymaster-exec"
	markHeader = "quaymaster-exec 1\n"
)

// mark leaves the file, or takes away that of an earlier run.
func (b *bundle) mark(id string, answer wire.Answer) error {
	if !answer.ExecVariables {
		if err := syscall.Unlinkat(b.dir, markName); err != nil && err != syscall.ENOENT {
			return because("cannot remove "+markName+" from the bundle "+b.path, err)
		}
		return nil
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
//
// The engine's shim calls runc in the bundle and with --log in it (containerd's
// runtime-v2 and go-runc); the file itself says which container it is for.
func (c call) withVariables(args []string) ([]string, error) {
	if c.command != "exec" || c.process == "" || c.id == "" {
		return args, nil
	}
	bundlePath := "."
	if c.log != "" {
		bundlePath = path.Dir(c.log)
	}
	inherited := readMark(bundlePath, c.id)
	if len(inherited) == 0 {
		return args, nil
	}
	file, err := c.rewriteProcess(bundlePath, inherited)
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

// readMark reads the file of that container. What is not there, is another
// container's, or was not written by the user of this process is no mark.
func readMark(bundlePath, id string) []spec.Inherited {
	fd, err := syscall.Open(bundlePath+"/"+markName, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	text, st, err := readRegular(fd)
	if err != nil || int(st.Uid) != syscall.Geteuid() {
		return nil
	}
	return decodeMark(text, id)
}

// encodeMark writes a line for the container and one for each variable: its
// name, and what the engine gives under that name.
func encodeMark(id string, inherited []spec.Inherited) []byte {
	out := strconv.AppendQuote([]byte(markHeader), id)
	for _, i := range inherited {
		out = strconv.AppendQuote(append(out, '\n'), i.Name)
		for _, e := range i.Engine {
			out = strconv.AppendQuote(append(out, ' '), e)
		}
	}
	return append(out, '\n')
}

// decodeMark returns nothing for the mark of another container, and for what
// is no mark.
func decodeMark(text []byte, id string) (inherited []spec.Inherited) {
	text, found := bytes.CutPrefix(text, []byte(markHeader))
	if !found {
		return nil
	}
	for number, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		words, ok := unquoteAll(line)
		switch {
		case !ok, number == 0 && (len(words) != 1 || words[0] != id):
			return nil
		case number > 0:
			inherited = append(inherited, spec.Inherited{Name: words[0], Engine: words[1:]})
		}
	}
	return inherited
}

// unquoteAll reads quoted words with a space between them, at least one.
func unquoteAll(line string) (words []string, ok bool) {
	for {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, false
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, false
		}
		words = append(words, word)
		if line = line[len(quoted):]; line == "" {
			return words, true
		}
		if line, ok = strings.CutPrefix(line, " "); !ok {
			return nil, false
		}
	}
}
