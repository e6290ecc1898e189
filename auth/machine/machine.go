// Package machine seals a key to this machine with systemd-creds: by the
// machine's TPM 2, by a key that lies on its root disk
// (/var/lib/systemd/credential.secret, which systemd makes and root alone can
// read), or by both, as systemd finds them ("systemd-creds encrypt
// --with-key=auto").
//
// With a TPM, what is sealed opens on this machine and in the state of its
// firmware in which it was sealed. Without one, it opens wherever the whole disk
// is: that guards a copy of the state directory, and not a copy of the disk.
//
// The program is run for each key; the key goes through pipes, and is in no
// argument, variable or file.
package machine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
)

const (
	// name is sealed with the key, so that no other sealed thing of this
	// machine is taken for it.
	name = "quaymaster-boot-cache"
	// timeout is for one run. A TPM takes a second or two.
	timeout = 30 * time.Second
	// endTimeout is how long a program that was told to end may take.
	endTimeout = 2 * time.Second
	// maxOutput is the most that is taken of a program's words, in bytes.
	maxOutput = 64 << 10
	// maxSealed is the most that is given to the program to open, in bytes; the
	// largest it makes, for both TPM and disk, has less than a thousand.
	maxSealed = 16 << 10
)

// Options of a Sealer. The zero value is right where systemd is.
type Options struct {
	Program string // empty: systemd-creds, looked for in PATH
}

// Sealer implements auth.Sealer.
type Sealer struct{ program string }

// NewSealer runs nothing yet.
func NewSealer(o Options) *Sealer {
	return &Sealer{cmp.Or(o.Program, "systemd-creds")}
}

// Seal implements auth.Sealer. The first one on a machine without a TPM makes
// systemd's key on the disk.
func (s *Sealer) Seal(ctx context.Context, key []byte) ([]byte, error) {
	out, err := s.run(ctx, "encrypt", key)
	defer clear(out)
	if err != nil {
		return nil, s.explain(ctx, "seal a key", err, auth.ErrSealUnavailable)
	}
	// In binary there is one way to write it, and whatever is changed is noticed.
	sealed, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(out)), ""))
	if err != nil || len(sealed) <= len(key) {
		return nil, s.failed("seal a key", "what it answers is nothing sealed: is it systemd's program?", auth.ErrSealRefused)
	}
	return sealed, nil
}

// Unseal implements auth.Sealer.
func (s *Sealer) Unseal(ctx context.Context, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || len(sealed) > maxSealed {
		return nil, s.failed("unseal a key", "that is nothing that it sealed", auth.ErrNotSealedHere)
	}
	out, err := s.run(ctx, "decrypt", base64.StdEncoding.AppendEncode(nil, sealed))
	if err != nil {
		clear(out)
		return nil, s.explain(ctx, "unseal a key", err, auth.ErrNotSealedHere)
	}
	return out, nil
}

// outcome is how a program failed, and its last words.
type outcome struct {
	cause error
	words string
}

func (o *outcome) Error() string { return o.cause.Error() }

func (s *Sealer) run(ctx context.Context, verb string, in []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command := exec.CommandContext(ctx, s.program, verb, "--name="+name, "-", "-")
	command.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_LOG_COLOR=0")
	command.WaitDelay = endTimeout
	said := limited{into: make([]byte, 0, maxOutput)} // never grown, which would leave a key behind
	out := limited{into: make([]byte, 0, maxOutput)}
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(in), &out, &said
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case out.full || said.full:
		err = errTooMuch
	}
	if err != nil {
		return out.into, &outcome{err, string(said.into)}
	}
	return out.into, nil
}

// limited takes as much as there is room for.
type limited struct {
	into []byte
	full bool // and there was more
}

var errTooMuch = errors.New("it says more than it should")

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if len(p) > cap(l.into)-len(l.into) {
		l.full = true
		return 0, errTooMuch
	}
	l.into = append(l.into, p...)
	return len(p), nil
}

// meanings of what systemd-creds says. Those about the key on the disk are as
// systemd 252 says them; those about TPMs go by the words that all of its
// messages about one have (src/shared/tpm2-util.c). None is passed on, because
// nobody has promised what is in them.
var meanings = []struct {
	says     *regexp.Regexp
	means    string
	decision error
}{
	{regexp.MustCompile(`(?i)embedded credential name`), "it was sealed for something else than Quaymaster", auth.ErrNotSealedHere},
	{regexp.MustCompile(`(?i)local credential (key|host secret|secret).*(no such file|wrong medium)|machine.?id`),
		"systemd's key on this disk is not there, or not this machine's (/var/lib/systemd/credential.secret): was the disk copied or cleaned?", auth.ErrNotSealedHere},
	{regexp.MustCompile(`(?i)permission denied|operation not permitted`),
		"this process may not: run the agent as root, and let its unit write to /var/lib/systemd", auth.ErrSealRefused},
	{regexp.MustCompile(`(?i)read-only file system|no space left`),
		"systemd's key cannot be made on this disk (/var/lib/systemd/credential.secret): let it be written to", auth.ErrSealRefused},
	{regexp.MustCompile(`(?i)tpm|esys|tss`),
		"the machine's TPM does not do it: has the firmware or Secure Boot changed, or is libtss2 missing? See systemd-analyze has-tpm2", auth.ErrSealRefused},
	{regexp.MustCompile(`(?i)unknown (command )?(verb|operation)|unrecognized option`), "it is older than systemd 250, which is needed", auth.ErrSealRefused},
}

// explain finds the decision that follows from a failed run; otherwise is for
// what the program says nothing about.
func (s *Sealer) explain(ctx context.Context, doing string, err, otherwise error) error {
	failed, _ := errors.AsType[*outcome](err)
	_, ended := errors.AsType[*exec.ExitError](failed.cause)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", s.failed(doing, "given up", auth.ErrSealUnavailable), ctx.Err())
	case errors.Is(failed.cause, context.DeadlineExceeded):
		return s.failed(doing, fmt.Sprintf("it did not end within %s", timeout), auth.ErrSealUnavailable)
	case errors.Is(failed.cause, exec.ErrNotFound) || errors.Is(failed.cause, fs.ErrNotExist):
		return s.failed(doing, "there is no such program: install systemd 250 or later, or choose another sealer", auth.ErrSealRefused)
	case errors.Is(failed.cause, fs.ErrPermission):
		return s.failed(doing, "it may not be run", auth.ErrSealRefused)
	case failed.cause == errTooMuch:
		return s.failed(doing, errTooMuch.Error()+": is it systemd's program?", auth.ErrSealRefused)
	case !ended || killed(failed.cause):
		return s.failed(doing, "it could not be run, or was killed", auth.ErrSealUnavailable)
	}
	for _, m := range meanings {
		if !m.says.MatchString(failed.words) {
			continue
		}
		if m.decision == auth.ErrNotSealedHere && otherwise != auth.ErrNotSealedHere {
			return s.failed(doing, m.means, auth.ErrSealRefused) // there was nothing to open
		}
		return s.failed(doing, m.means, m.decision)
	}
	if otherwise == auth.ErrNotSealedHere {
		return s.failed(doing, "it does not open: it was altered, or another machine has sealed it", otherwise)
	}
	return s.failed(doing, "it fails; try it by hand: echo test | "+s.program+" encrypt --name=test - -", otherwise)
}

func killed(err error) bool {
	ended, is := errors.AsType[*exec.ExitError](err)
	return is && !ended.Exited()
}

func (s *Sealer) failed(doing, reason string, decision error) error {
	return fmt.Errorf("%s with %s: %s: %w", doing, s.program, reason, decision)
}
