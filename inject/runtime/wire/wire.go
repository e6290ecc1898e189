// Package wire is what quaymaster-runtime and the agent say to each other.
//
// The runtime connects to the agent's Unix stream socket, sends one Request
// and reads one Answer; then both close. The runtime keeps its writing side
// open while it waits: when it hangs up, nobody waits for the answer any more.
// A message is lines of text:
//
//	quaymaster-gate 1
//	container "4f1c…"
//	user 65532 65532
//	uid-map 0 100000 65536
//	mount "/etc/hosts"
//
// The first line names the protocol and its version. Each other line is a key
// and its values, a number in decimal or a string as strconv.Quote writes it,
// which keeps every byte. An empty line ends the message. Reading is strict: a
// key that is unknown, out of shape or repeated where it stands for one thing
// is an error, and so is anything behind the message.
//
// The types are plain and the imports few, so that the runtime stays small.
package wire

import (
	"errors"
	"strconv"
)

// Protocol is the first line of every message.
const Protocol = "quaymaster-gate 1"

// The largest messages in bytes, as they are written. Only variables make an
// answer large: files do not travel this way.
const (
	MaxRequest = 1 << 20
	MaxAnswer  = 64 << 20
)

// NoAgent stands in what the starter of a container sees when nobody answered
// for the agent in time, at every gate. The agent knows by it the containers
// that failed for its sake.
const NoAgent = "no agent answered"

// The decisions that a reader can end with.
var (
	// ErrProtocol says that what came is no message of this protocol.
	ErrProtocol = errors.New("not a message of " + Protocol)
	// ErrTooLarge says that a message is larger than the protocol allows.
	ErrTooLarge = errors.New("message too large")
)

// IDMap is one line of a user-namespace mapping.
type IDMap struct{ Container, Host, Size uint32 }

// Request is what the runtime knows of a container that it is about to create,
// or a hook of one that is being created: only a hook fills in the last three.
type Request struct {
	ID             string // the container's full ID
	UID, GID       uint32 // of the process, as the container numbers them
	UIDMap, GIDMap []IDMap
	Mounts         []string // the paths inside the container that are mounted already
	EngineDir      string   // the engine's directory for this container; empty: not known
	MemoryOnly     bool     // what the runtime writes stays in memory
	Profile        string   // hook: names what the container is to have; empty: its labels do
	PID            uint32   // hook: the container's first process, as the host numbers it
	Root           string   // hook: the directory that this process will have as its root
}

// Verdict is what the agent decided.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"    // start the container as it is
	Deliver Verdict = "deliver" // add what the answer says, then start
	Refuse  Verdict = "refuse"  // do not start; Message says why
)

// Variable is one environment variable. The value sits behind a func, the one
// shape that fmt and slog cannot print.
type Variable struct {
	Name  string
	Value func() []byte
}

// Answer is what the agent wants done.
type Answer struct {
	Verdict   Verdict
	Message   string // refuse: shown to whoever started the container
	Source    string // deliver: the tree on the host; empty when there are no files
	Target    string // deliver: where the container sees it
	Variables []Variable
	// ExecVariables: processes that are started in the container later get the
	// variables too.
	ExecVariables bool
}

// Encode writes the request as a message.
func (r Request) Encode() ([]byte, error) {
	w := writer{[]byte(Protocol + "\n")}
	w.text("container", r.ID)
	w.numbers("user", r.UID, r.GID)
	for _, m := range r.UIDMap {
		w.numbers("uid-map", m.Container, m.Host, m.Size)
	}
	for _, m := range r.GIDMap {
		w.numbers("gid-map", m.Container, m.Host, m.Size)
	}
	for _, mount := range r.Mounts {
		w.text("mount", mount)
	}
	if r.EngineDir != "" {
		w.text("engine-dir", r.EngineDir)
	}
	if r.MemoryOnly {
		w.out = append(w.out, "memory-only\n"...)
	}
	if r.Profile != "" {
		w.text("profile", r.Profile)
		w.numbers("pid", r.PID)
		w.text("root", r.Root)
	}
	return w.message(MaxRequest)
}

// Encode writes the answer as a message. It is the moment at which the values
// are revealed: send the message, then overwrite it.
func (a Answer) Encode() ([]byte, error) {
	size := a.size()
	if size > MaxAnswer {
		return nil, tooLarge(MaxAnswer)
	}
	// Large enough from the beginning: a buffer that grows leaves copies of
	// values behind that nobody overwrites.
	w := writer{make([]byte, 0, 4*size)}
	w.out = append(w.out, Protocol+"\n"...)
	w.text("verdict", string(a.Verdict))
	for _, line := range [...][2]string{{"message", a.Message}, {"source", a.Source}, {"target", a.Target}} {
		if line[1] != "" {
			w.text(line[0], line[1])
		}
	}
	for _, v := range a.Variables {
		w.out = append(w.out, "env "...)
		w.out = strconv.AppendQuote(w.out, v.Name)
		w.out = append(w.out, ' ')
		w.quoteBytes(v.Value())
		w.out = append(w.out, '\n')
	}
	if a.ExecVariables {
		w.out = append(w.out, "exec-variables\n"...)
	}
	return w.message(MaxAnswer)
}

// size is how long the answer is when nothing in it needs an escape, which
// makes four bytes of one at most.
func (a Answer) size() int {
	size := len(Protocol) + len(a.Verdict) + len(a.Message) + len(a.Source) + len(a.Target) + 64
	for _, v := range a.Variables {
		size += len(v.Name) + len(v.Value()) + len(`env "" ""`) // only the length leaves
	}
	return size
}

func protocolError(why string) error { return &wireError{why, ErrProtocol} }

type wireError struct {
	why string
	err error
}

func (e *wireError) Error() string { return e.err.Error() + ": " + e.why }
func (e *wireError) Unwrap() error { return e.err }

type writer struct{ out []byte }

func (w *writer) text(key, value string) {
	w.out = append(append(w.out, key...), ' ')
	w.out = append(strconv.AppendQuote(w.out, value), '\n')
}

func (w *writer) numbers(key string, numbers ...uint32) {
	w.out = append(w.out, key...)
	for _, n := range numbers {
		w.out = strconv.AppendUint(append(w.out, ' '), uint64(n), 10)
	}
	w.out = append(w.out, '\n')
}

// quoteBytes writes b as strconv.Unquote reads it, without making a string of
// it: a string could not be overwritten afterwards.
func (w *writer) quoteBytes(b []byte) {
	const hex = "0123456789abcdef"
	w.out = append(w.out, '"')
	for _, c := range b {
		switch {
		case c == '"' || c == '\\':
			w.out = append(w.out, '\\', c)
		case ' ' <= c && c < 0x7f:
			w.out = append(w.out, c)
		default:
			w.out = append(w.out, '\\', 'x', hex[c>>4], hex[c&0xf])
		}
	}
	w.out = append(w.out, '"')
}

func (w *writer) message(limit int) ([]byte, error) {
	w.out = append(w.out, '\n')
	if len(w.out) > limit {
		clear(w.out)
		return nil, tooLarge(limit)
	}
	return w.out, nil
}

func tooLarge(limit int) error {
	return &wireError{"the limit is " + strconv.Itoa(limit) + " bytes", ErrTooLarge}
}
