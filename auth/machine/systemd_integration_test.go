//go:build integration

package machine_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/machine"
	"github.com/quaymaster/quaymaster/broker/bootcache"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/test/sealing"
)

// The variable with which systemd-creds is told of another key than the
// machine's, which no test must touch (get_credential_host_secret in systemd's
// creds-util.c).
const secretVariable = "SYSTEMD_CREDENTIAL_SECRET"

// other is a machine with another disk.
type other struct {
	*machine.Sealer
	t      *testing.T
	secret string
}

func (o other) there(do func()) {
	own := os.Getenv(secretVariable)
	o.t.Setenv(secretVariable, o.secret)
	do()
	o.t.Setenv(secretVariable, own)
}

func (o other) Seal(ctx context.Context, key []byte) (sealed []byte, err error) {
	o.there(func() { sealed, err = o.Sealer.Seal(ctx, key) })
	return sealed, err
}

func (o other) Unseal(ctx context.Context, sealed []byte) (key []byte, err error) {
	o.there(func() { key, err = o.Sealer.Unseal(ctx, sealed) })
	return key, err
}

// With systemd's own program.
func TestSystemdIsASealer(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "own", "credential.secret")
	t.Setenv(secretVariable, secret)
	sealer := machine.NewSealer(machine.Options{})
	sealing.Run(t, sealing.World{
		Sealer: sealer, Other: other{sealer, t, filepath.Join(dir, "other", "credential.secret")},
		Deny: map[string]func() func(){"no program": func() func() {
			path := os.Getenv("PATH")
			t.Setenv("PATH", dir)
			return func() { t.Setenv("PATH", path) }
		}},
		Break: map[string]func() func(){"killed": func() func() {
			path := os.Getenv("PATH")
			killing := t.TempDir()
			if err := os.WriteFile(filepath.Join(killing, "systemd-creds"), []byte("#!/bin/sh\nkill -9 $$\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", killing)
			return func() { t.Setenv("PATH", path) }
		}},
	})
	if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("systemd made no key: %v", err)
	}
}

// What is sealed under another name is refused: the units of this machine have
// sealed things of their own.
func TestSealedForSomethingElse(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(secretVariable, filepath.Join(dir, "credential.secret"))
	renaming := program(t, `exec systemd-creds "$1" --name=something-else - -`)
	sealed, err := renaming.Seal(t.Context(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := machine.NewSealer(machine.Options{}).Unseal(t.Context(), sealed); !errors.Is(err, auth.ErrNotSealedHere) ||
		!strings.Contains(err.Error(), "something else") {
		t.Error(err)
	}
}

// The key is in nothing that others can see of the process: a program that
// records all it is given, but its input, records no key.
func TestKeyGoesThroughPipesOnly(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(secretVariable, filepath.Join(dir, "credential.secret"))
	record := filepath.Join(dir, "record")
	s := program(t, `tr '\0' ' ' < /proc/$$/cmdline >> `+record+`; env >> `+record+`; ls -l /proc/$$/fd >> `+record+`; exec systemd-creds "$@"`)
	key := []byte("c4n4ry-c4n4ry-c4n4ry-c4n4ry-1234")
	sealed, err := s.Seal(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := s.Unseal(t.Context(), sealed); err != nil || !bytes.Equal(opened, key) {
		t.Error(err)
	}
	seen, err := os.ReadFile(record)
	if err != nil || !strings.Contains(string(seen), "--name=quaymaster-boot-cache - -") || !strings.Contains(string(seen), "0 -> pipe:") {
		t.Fatalf("%s, %v", seen, err)
	}
	if bytes.Contains(seen, key[:8]) || bytes.Contains(seen, []byte(base64.StdEncoding.EncodeToString(key)[:12])) {
		t.Errorf("the key is in %s", seen)
	}
}

// The whole cache, by the real program.
func TestBootCacheOnThisMachine(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(secretVariable, filepath.Join(dir, "credential.secret"))
	open := func() *bootcache.Cache {
		c, err := bootcache.Open(t.Context(), bootcache.Options{Dir: filepath.Join(dir, "boot-cache"), Host: "docker-1",
			Sealer: machine.NewSealer(machine.Options{}), MaxStale: 1 << 40})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := open()
	if err := first.Keep(t.Context(), kept(t)); err != nil {
		t.Fatal(err)
	}
	first.Close()
	next := open()
	defer next.Close()
	if got, err := next.Load(t.Context()); err != nil || len(got) != 1 || !got[0].Secret.Equal(kept(t)[0].Secret) {
		t.Errorf("%d secrets, %v", len(got), err)
	}
	if err := os.Remove(filepath.Join(dir, "credential.secret")); err != nil {
		t.Fatal(err)
	}
	if _, err := next.Load(t.Context()); !errors.Is(err, bootcache.ErrBad) || !strings.Contains(err.Error(), "was the disk copied") {
		t.Error(err)
	}
}

// Without the variable, systemd makes the machine's own key where it says; here
// in a mount namespace that has another directory there.
func TestMachinesOwnKeyIsMade(t *testing.T) {
	dir := t.TempDir()
	s := program(t, `exec unshare --mount sh -c 'mount --bind `+dir+` /var/lib/systemd && exec systemd-creds "$@"' sh "$@"`)
	key := bytes.Repeat([]byte{7}, 32)
	sealed, err := s.Seal(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := s.Unseal(t.Context(), sealed); err != nil || !bytes.Equal(opened, key) {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "credential.secret")); err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("systemd made no key: %v", err)
	}
}

func kept(t *testing.T) []secret.Held {
	t.Helper()
	ref, err := secret.ParseRef("vault:kv/shop/db")
	if err != nil {
		t.Fatal(err)
	}
	return []secret.Held{{Read: time.Now(), Secret: secret.Secret{Ref: ref, Fields: map[string]secret.Value{"password": secret.NewValue([]byte("one"))}}}}
}
