// Package audit records each decision before its effect.
//
// The audit log is a file of JSON lines that is only ever appended to. All
// records of one decision go out in one write, and only when that has
// succeeded does the caller deliver anything: what cannot be recorded does not
// happen.
//
// A record says which container wanted which ref, what was decided, and which
// rule said so. It has no place for a value. It can carry a MAC instead, by
// which two records tell whether they speak of the same value, and nothing
// more to those who lack the key. The key (see Key) lives in memory for as
// long as the host is up; a record names the key, since MACs under different
// keys cannot be compared.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Event says what a record is about.
type Event string

// The events.
const (
	Decision  Event = "decision"  // a container at a gate wanted a secret
	Ungated   Event = "ungated"   // a labelled container runs without having passed a gate
	Rotated   Event = "rotated"   // a new value was delivered to a running container
	Withdrawn Event = "withdrawn" // a delivered secret was taken away
)

// Kind is the form in which a container gets a secret.
type Kind string

// The forms.
const (
	File     Kind = "file"
	Variable Kind = "env"
)

// Verdict is what was decided.
type Verdict string

// The verdicts. Error: nobody said no, but the secret could not be had.
const (
	Allow Verdict = "allow"
	Deny  Verdict = "deny"
	Error Verdict = "error"
)

// Record is one line of the log. What does not apply is left empty.
type Record struct {
	Event         Event
	ContainerID   string
	ContainerName string
	Image         string
	Gate          string
	Kind          Kind
	Name          string // of the file or the variable
	Ref           string
	Decision      Verdict
	Reason        string
	Grant         string
	Version       string // of the secret, as its provider names it
	MAC           MAC    // of the value that is delivered
	Stale         bool   // the provider could not confirm the value just now
}

// MAC stands for a value in a record. Only Log.MAC makes one; the zero MAC
// stands for no value.
type MAC struct{ sum, key string }

// String is equal for equal values under one key; empty for the zero MAC.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	return m.key + ":" + m.sum
}

// line is the form of a Record in the file. Readers rely on its names.
type line struct {
	Time          time.Time `json:"time"` // RFC 3339 with nanoseconds, in UTC
	Event         Event     `json:"event"`
	ContainerID   string    `json:"container_id"`
	ContainerName string    `json:"container_name,omitempty"`
	Image         string    `json:"image,omitempty"`
	Gate          string    `json:"gate,omitempty"`
	Kind          Kind      `json:"kind,omitempty"`
	Name          string    `json:"name,omitempty"`
	Ref           string    `json:"ref,omitempty"`
	Decision      Verdict   `json:"decision,omitempty"`
	Reason        string    `json:"reason,omitempty"`
	Grant         string    `json:"grant,omitempty"`
	Version       string    `json:"version,omitempty"`
	HMAC          string    `json:"hmac,omitempty"`
	HMACKey       string    `json:"hmac_key,omitempty"` // first 8 hex digits of the key's SHA-256
	Stale         bool      `json:"stale,omitempty"`
}

// Log is an open audit log. It may be used by several goroutines.
type Log struct {
	path  string
	key   []byte
	keyID string
	now   func() time.Time

	mu   sync.Mutex
	file *os.File
	torn bool // the file ends in the middle of a line
}

// Open opens the log at path and makes it (mode 0600) and its directory (0700)
// when they are missing. Values are summed under key.
func Open(path string, key []byte, now func() time.Time) (*Log, error) {
	id := sha256.Sum256(key)
	l := &Log{path: path, key: key, keyID: hex.EncodeToString(id[:4]), now: now}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, l.failed("its directory cannot be made", err)
	}
	if err := l.Reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// Reopen goes on in the file that is at the log's path now, after something
// has moved the old one away. When that fails, the old file stays in use.
func (l *Log) Reopen() error {
	l.mu.Lock() // the end of the file is looked at between two records
	defer l.mu.Unlock()
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE | syscall.O_NOFOLLOW // a link could lead records elsewhere
	file, err := os.OpenFile(l.path, flags, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return l.failed("cannot be opened", errors.New("it is a symbolic link: name the file itself"))
	}
	if err != nil {
		return l.failed("cannot be opened", err)
	}
	torn, err := examine(file)
	if err != nil {
		file.Close()
		return l.failed("cannot be used", err)
	}
	if l.file != nil {
		l.file.Close() // every write has been answered for; nothing is buffered
	}
	l.file, l.torn = file, torn
	return nil
}

// examine says whether the file ends in the middle of a line, as it does when
// a disk was full or a host lost power.
func examine(file *os.File) (torn bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	if kind := info.Mode().Type(); kind != 0 && kind != fs.ModeDevice|fs.ModeCharDevice {
		return false, errors.New("it is not a regular file") // a FIFO would make a start wait for its reader
	}
	if info.Size() == 0 {
		return false, nil
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], info.Size()-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}

// MAC sums values under the log's key: one as it is, several as the set of
// their sums in that order, none as nothing.
func (l *Log) MAC(values ...secret.Value) MAC {
	switch len(values) {
	case 0:
		return MAC{}
	case 1:
		return MAC{sum: values[0].MAC(l.key), key: l.keyID}
	}
	var sums []byte
	for _, value := range values {
		sums = append(sums, value.MAC(l.key)...)
	}
	return MAC{sum: secret.NewValue(sums).MAC(l.key), key: l.keyID}
}

// Record appends all records, which belong to one decision and get one time,
// with one write. After an error, what the records speak of must not happen:
// some of them may be in the file, or none. The write has reached the kernel
// when Record returns, not the disk: a container does not wait for that.
func (l *Log) Record(records ...Record) error {
	if len(records) == 0 {
		return nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // the parameters of a ref are joined with &
	at := l.now().UTC()
	for _, r := range records {
		if err := encoder.Encode(r.line(at)); err != nil {
			return l.failed("a record cannot be encoded", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(text.Bytes()); err != nil {
		return l.failed("cannot be written, so nothing is delivered", err)
	}
	return nil
}

func (r Record) line(at time.Time) line {
	return line{
		Time: at, Event: r.Event,
		ContainerID: r.ContainerID, ContainerName: r.ContainerName, Image: r.Image, Gate: r.Gate,
		Kind: r.Kind, Name: r.Name, Ref: r.Ref,
		Decision: r.Decision, Reason: r.Reason, Grant: r.Grant, Version: r.Version,
		HMAC: r.MAC.sum, HMACKey: r.MAC.key, Stale: r.Stale,
	}
}

// append writes whole lines. It ends a torn line first, so that a reader loses
// that line and not the next one too.
func (l *Log) append(text []byte) error {
	if l.torn {
		text = append([]byte{'\n'}, text...)
	}
	n, err := l.file.Write(text)
	if n > 0 {
		l.torn = text[n-1] != '\n'
	}
	return err
}

// Close ends the log. Nothing is recorded afterwards.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); err != nil {
		return l.failed("cannot be closed", err)
	}
	return nil
}

// failed names the file once: errors of package os name it too.
func (l *Log) failed(what string, err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) && pathError.Path == l.path {
		err = pathError.Err
	}
	return fmt.Errorf("audit log %s: %s: %w", l.path, what, err)
}
