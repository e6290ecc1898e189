package main

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// A note is a file that the gate leaves in a bundle for a later call of the
// same container: its name and 1, a line with the container's ID, and lines of
// quoted words. It holds no value.

// leave writes the notes that later calls need, or takes away those of an
// earlier run. Only a container that is created is looked at before it starts:
// runc's run does both at once.
func (g gate) leave(b *bundle, answer wire.Answer, name string) error {
	if len(answer.Variables) > 0 {
		if err := b.mark(g.id, answer); err != nil {
			return err
		}
	}
	if g.command != "create" || answer.Source == "" || !strings.HasPrefix(g.pidFile, "/") {
		return b.forget(placedName)
	}
	p := placed{container: name, target: answer.Target, source: answer.Source, pidFile: g.pidFile}
	return b.put(placedName, p.encode(g.id), nil)
}

func (b *bundle) forget(name string) error {
	if err := syscall.Unlinkat(b.dir, name); err != nil && err != syscall.ENOENT {
		return because("cannot remove "+name+" from the bundle "+b.path, err)
	}
	return nil
}

// bundlePath is where the bundle of an existing container lies: the engine's
// shim calls runc in it and with --log in it (containerd's runtime-v2 and
// go-runc); the notes themselves say which container they are for.
func (c call) bundlePath() string {
	if c.log == "" {
		return "."
	}
	return path.Dir(c.log)
}

// readNote reads a note on that container. What is not there, is another
// container's, or was not written by the user of this process is no note.
func readNote(bundlePath, name, id string) (lines [][]string) {
	fd, err := syscall.Open(bundlePath+"/"+name, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	text, st, err := readRegular(fd)
	if err != nil || int(st.Uid) != syscall.Geteuid() {
		return nil
	}
	return decodeNote(text, name, id)
}

func encodeNote(name, id string, lines [][]string) []byte {
	out := strconv.AppendQuote([]byte(name+" 1\n"), id)
	for _, words := range lines {
		for n, word := range words {
			out = strconv.AppendQuote(append(out, "\n "[min(n, 1)]), word)
		}
	}
	return append(out, '\n')
}

// decodeNote returns nothing for the note of another container, and for what
// is no note.
func decodeNote(text []byte, name, id string) (lines [][]string) {
	text, found := bytes.CutPrefix(text, []byte(name+" 1\n"))
	if !found {
		return nil
	}
	for number, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		words, ok := unquoteAll(line)
		switch {
		case !ok, number == 0 && (len(words) != 1 || words[0] != id):
			return nil
		case number > 0:
			lines = append(lines, words)
		}
	}
	return lines
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
