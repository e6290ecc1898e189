package machine_test

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/machine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is a shell script in the place of systemd-creds.
func program(t *testing.T, script string) *machine.Sealer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "systemd-creds")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return machine.NewSealer(machine.Options{Program: file})
}

// Words are those of systemd 252 and 255. Whatever a program says, the key is not
// in the error.
func TestProgramFails(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	for _, test := range []struct {
		script, hint string
		seal, unseal error
	}{
		{"echo Failed to determine local credential key: No such file or directory >&2; exit 1", "was the disk copied", auth.ErrSealRefused, auth.ErrNotSealedHere},
		{"echo Failed to determine local credential host secret: Operation not permitted >&2; exit 1", "as root", auth.ErrSealRefused, auth.ErrSealRefused},
		{"echo Failed to unseal secret using TPM2: State not recoverable >&2; exit 1", "has-tpm2", auth.ErrSealRefused, auth.ErrSealRefused},
		{"echo Failed to open: Read-only file system >&2; exit 1", "written to", auth.ErrSealRefused, auth.ErrSealRefused},
		{"echo Unknown command verb encrypt. >&2; exit 1", "systemd 250", auth.ErrSealRefused, auth.ErrSealRefused},
		{"tee /dev/stderr; exit 1", "", auth.ErrSealUnavailable, auth.ErrNotSealedHere},
		{"kill -9 $$", "killed", auth.ErrSealUnavailable, auth.ErrSealUnavailable},
		{"yes", "says more", auth.ErrSealRefused, auth.ErrSealRefused},
	} {
		s := program(t, test.script)
		sealed, err := s.Seal(t.Context(), []byte(key))
		opened, openErr := s.Unseal(t.Context(), []byte(key))
		if sealed != nil || opened != nil || !errors.Is(err, test.seal) || !errors.Is(openErr, test.unseal) {
			t.Errorf("%s: sealing: %v; unsealing: %v", test.script, err, openErr)
		}
		for _, err := range []error{err, openErr} {
			if text := err.Error(); strings.Contains(text, key[:8]) || strings.Contains(text, hex.EncodeToString([]byte(key))[:16]) || !strings.Contains(text, test.hint) {
				t.Errorf("%s: %v", test.script, err)
			}
		}
	}
}

func TestNoProgram(t *testing.T) {
	for _, s := range []*machine.Sealer{machine.NewSealer(machine.Options{Program: "quaymaster-has-no-such-program"}),
		machine.NewSealer(machine.Options{Program: filepath.Join(t.TempDir(), "none")})} {
		if _, err := s.Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealRefused) || !strings.Contains(err.Error(), "install systemd") {
			t.Error(err)
		}
	}
}

// A program that says nothing sealed is not believed, and one that hangs ends
// when it is given up.
func TestProgramIsAnother(t *testing.T) {
	for _, script := range []string{"true", "echo hello there", "echo AAAA"} {
		if sealed, err := program(t, script).Seal(t.Context(), []byte("a key of some length")); sealed != nil || !errors.Is(err, auth.ErrSealRefused) {
			t.Errorf("%s: %q, %v", script, sealed, err)
		}
	}
	started := filepath.Join(t.TempDir(), "started")
	s := program(t, "echo > "+started+"; exec sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(started); err == nil {
				cancel()
			}
		}
	}()
	if _, err := s.Unseal(ctx, []byte("x")); !errors.Is(err, auth.ErrSealUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
