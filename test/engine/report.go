package engine

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrPartial says that the probe's last report is not complete: it is still
// writing, or it died.
var ErrPartial = errors.New("the last report is not complete")

// Report is what the probe saw. Values are not in it, only their lengths and
// fingerprints.
type Report struct {
	// Number counts the reports of one process from 1.
	Number int
	// T0 is when the process began with its first instruction, At when it
	// began with this report; both as Monotonic.
	T0, At time.Duration
	// UID and GID of the process, as the container numbers them.
	UID, GID uint32
	// Generation is the target of the directory's ..data link, empty where
	// there is none. All of Files is of this one generation.
	Generation string
	// Files are the regular files below the directory, by relative path.
	Files map[string]File
	// Unreadable are the paths that could not be read; "." is the directory.
	Unreadable map[string]syscall.Errno
	// Env is the environment: of a name that occurs twice the first, as for
	// getenv(3).
	Env map[string]Variable
	// Writable says that a file could be made in the directory.
	Writable bool
}

// File is a regular file as the probe saw it.
type File struct {
	Length      int64
	Mode        fs.FileMode // permission bits
	UID, GID    uint32
	Fingerprint string
}

// Variable is an environment variable as the probe saw it.
type Variable struct {
	Length      int64
	Fingerprint string
}

// Fingerprint is how a report names a value: its 64-bit FNV-1a in hexadecimal.
func Fingerprint(value []byte) string {
	h := fnv.New64a()
	h.Write(value) // never fails
	return fmt.Sprintf("%016x", h.Sum64())
}

// Monotonic is the time on the clock that the probe reads, CLOCK_MONOTONIC,
// which a machine and its containers share.
func Monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("CLOCK_MONOTONIC, which every Linux has: %v", err))
	}
	return time.Duration(t.Nano())
}

// ParseReports reads the probe's stdout; probe.c documents the format. If the
// last report is cut off, the complete ones come with ErrPartial.
func ParseReports(stdout []byte) ([]Report, error) {
	var reports []Report
	var current *Report
	n := 0
	for line := range strings.Lines(string(stdout)) {
		n++
		if !strings.HasSuffix(line, "\n") {
			return reports, fmt.Errorf("line %d: %w", n, ErrPartial)
		}
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if words[0] == "BEGIN" {
			if current != nil {
				return reports, fmt.Errorf("line %d: report %d has no end", n, current.Number)
			}
			current = &Report{Files: map[string]File{}, Unreadable: map[string]syscall.Errno{}, Env: map[string]Variable{}}
		}
		if current == nil {
			return reports, fmt.Errorf("line %d: %q outside of a report", n, words[0])
		}
		if err := current.add(words); err != nil {
			return reports, fmt.Errorf("line %d: %w", n, err)
		}
		if words[0] == "END" {
			reports = append(reports, *current)
			current = nil
		}
	}
	if current != nil {
		return reports, ErrPartial
	}
	return reports, nil
}

// add reads one line of a report.
func (r *Report) add(words []string) error {
	f := fields{key: words[0], rest: words[1:]}
	switch f.key {
	case "BEGIN":
		r.Number = int(f.number(10))
	case "END":
		if n := int(f.number(10)); n != r.Number {
			return fmt.Errorf("report %d ends as %d", r.Number, n)
		}
	case "T0":
		r.T0 = time.Duration(f.number(10))
	case "AT":
		r.At = time.Duration(f.number(10))
	case "UID":
		r.UID = uint32(f.number(10))
	case "GID":
		r.GID = uint32(f.number(10))
	case "DATA":
		r.Generation = f.name()
	case "WRITABLE":
		r.Writable = f.number(10) == 1
	case "UNREADABLE":
		r.Unreadable[f.name()] = syscall.Errno(f.number(10))
	case "FILE":
		r.Files[f.name()] = File{
			Length: f.number(10), Mode: fs.FileMode(f.number(8)),
			UID: uint32(f.number(10)), GID: uint32(f.number(10)), Fingerprint: f.word(),
		}
	case "ENV":
		name, v := f.name(), Variable{Length: f.number(10), Fingerprint: f.word()}
		if _, twice := r.Env[name]; !twice {
			r.Env[name] = v
		}
	default:
		return fmt.Errorf("unknown fact %q", f.key)
	}
	return f.end()
}

// fields takes the words of a line one by one and keeps the first error.
type fields struct {
	key  string
	rest []string
	err  error
}

func (f *fields) word() string {
	if len(f.rest) == 0 {
		f.fail(errors.New("too few words"))
		return ""
	}
	word := f.rest[0]
	f.rest = f.rest[1:]
	return word
}

func (f *fields) name() string {
	name, err := url.PathUnescape(f.word())
	f.fail(err)
	return name
}

func (f *fields) number(base int) int64 {
	n, err := strconv.ParseInt(f.word(), base, 64)
	f.fail(err)
	return n
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = errors.New("too many words")
	}
	if f.err != nil {
		return fmt.Errorf("%s: %w", f.key, f.err)
	}
	return nil
}
