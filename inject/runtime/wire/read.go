package wire

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// ReadRequest reads one request up to its empty line.
func ReadRequest(r io.Reader) (Request, error) {
	var request Request
	var user bool
	text, err := readMessage(r, MaxRequest)
	if err != nil {
		return request, err
	}
	err = parse(text, map[string]func(*line){
		"container":   once(func(l *line) { request.ID = l.text() }),
		"user":        once(func(l *line) { request.UID, request.GID, user = l.number(), l.number(), true }),
		"uid-map":     func(l *line) { request.UIDMap = append(request.UIDMap, l.idMap()) },
		"gid-map":     func(l *line) { request.GIDMap = append(request.GIDMap, l.idMap()) },
		"mount":       func(l *line) { request.Mounts = append(request.Mounts, l.text()) },
		"engine-dir":  once(func(l *line) { request.EngineDir = l.text() }),
		"memory-only": once(func(*line) { request.MemoryOnly = true }),
		"profile":     once(func(l *line) { request.Profile = l.text() }),
		"pid":         once(func(l *line) { request.PID = l.number() }),
		"root":        once(func(l *line) { request.Root = l.text() }),
	})
	if err == nil && (request.ID == "" || !user) {
		err = protocolError("it names no container or no user")
	}
	if err == nil {
		err = request.check()
	}
	return request, err
}

// check: a profile comes from a hook, which knows the process as well.
func (r Request) check() error {
	hook := r.Profile != ""
	if hook != (r.PID != 0) || hook != (r.Root != "") {
		return protocolError("profile, pid and root go together")
	}
	return nil
}

// ReadAnswer reads one answer up to its empty line. No error repeats what an
// answer holds.
func ReadAnswer(r io.Reader) (Answer, error) {
	var answer Answer
	text, err := readMessage(r, MaxAnswer)
	if err != nil {
		return answer, err
	}
	err = parse(text, map[string]func(*line){
		"verdict": once(func(l *line) { answer.Verdict = Verdict(l.text()) }),
		"message": once(func(l *line) { answer.Message = l.text() }),
		"source":  once(func(l *line) { answer.Source = l.text() }),
		"target":  once(func(l *line) { answer.Target = l.text() }),
		"env": func(l *line) {
			name, value := l.text(), []byte(l.text())
			answer.Variables = append(answer.Variables, Variable{name, func() []byte { return value }})
		},
		"exec-variables": once(func(*line) { answer.ExecVariables = true }),
	})
	if err == nil {
		err = answer.check()
	}
	if err != nil {
		return Answer{}, err
	}
	return answer, nil
}

// check holds an answer to its verdict: a reader that does not know what a
// part is for must not leave it out silently.
func (a Answer) check() error {
	switch {
	case a.Verdict != Pass && a.Verdict != Deliver && a.Verdict != Refuse:
		return protocolError("its verdict is none of pass, deliver, refuse")
	case a.Verdict != Refuse && a.Message != "" || a.Verdict == Refuse && a.Message == "":
		return protocolError("a refusal has a message and nothing else has")
	case a.Verdict != Deliver && (a.Source != "" || a.Target != "" || len(a.Variables) > 0):
		return protocolError("only a delivery has source, target and env")
	case (a.Source == "") != (a.Target == ""):
		return protocolError("source and target go together")
	case a.ExecVariables && len(a.Variables) == 0:
		return protocolError("exec-variables needs an env")
	}
	return nil
}

// readMessage reads to the empty line. The peer sends nothing behind it, so no
// byte of a next message can be lost here.
func readMessage(r io.Reader, limit int) ([]byte, error) {
	text := make([]byte, 0, 4096)
	for !bytes.HasSuffix(text, []byte("\n\n")) {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := r.Read(text[len(text):min(cap(text), limit+1)])
		text = text[:len(text)+n]
		switch {
		case len(text) > limit:
			return nil, tooLarge(limit)
		case err == io.EOF && len(text) > 0 && !bytes.HasSuffix(text, []byte("\n\n")):
			return nil, io.ErrUnexpectedEOF
		case err != nil && err != io.EOF || err == io.EOF && len(text) == 0:
			return nil, err
		}
	}
	return text, nil
}

// parse hands each line to the reader of its key.
func parse(text []byte, keys map[string]func(*line)) error {
	first, rest, _ := strings.Cut(string(text), "\n")
	if first != Protocol {
		return protocolError("it begins otherwise; are agent and runtime of the same release?")
	}
	for number := 2; ; number++ {
		var current string
		current, rest, _ = strings.Cut(rest, "\n")
		if current == "" {
			break
		}
		key, values, _ := strings.Cut(current, " ")
		l := &line{rest: values, more: len(key) < len(current)}
		read, known := keys[key]
		if !known {
			return protocolError("line " + strconv.Itoa(number) + " has an unknown key")
		}
		read(l)
		if l.bad || l.more {
			return protocolError("line " + strconv.Itoa(number) + " has the wrong values for its key")
		}
	}
	if rest != "" {
		return protocolError("something stands behind its end")
	}
	return nil
}

// once makes the second line of a key an error.
func once(read func(*line)) func(*line) {
	done := false
	return func(l *line) {
		l.bad, done = done, true
		read(l)
	}
}

// line is what is left to read of the values of one line. What is not in shape
// makes it bad, and reading goes on with zero values.
type line struct {
	rest string
	more bool // a value follows
	bad  bool
}

// take removes the first size bytes and the space behind them.
func (l *line) take(size int) string {
	value := l.rest[:size]
	l.rest, l.more = strings.CutPrefix(l.rest[size:], " ")
	if !l.more && l.rest != "" {
		l.bad = true
	}
	return value
}

func (l *line) text() string {
	quoted, err := strconv.QuotedPrefix(l.rest)
	if !l.more || err != nil || quoted[0] != '"' {
		l.bad = true
		return ""
	}
	text, err := strconv.Unquote(l.take(len(quoted)))
	l.bad = l.bad || err != nil
	return text
}

func (l *line) number() uint32 {
	if !l.more {
		l.bad = true
		return 0
	}
	digits, _, _ := strings.Cut(l.rest, " ")
	number, err := strconv.ParseUint(l.take(len(digits)), 10, 32)
	l.bad = l.bad || err != nil
	return uint32(number)
}

func (l *line) idMap() IDMap { return IDMap{l.number(), l.number(), l.number()} }
