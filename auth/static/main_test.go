package static_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mark is in every token that must not come out.
const mark = "hvs.s3cr3t"

// write puts content into a new file of its own.
func write(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// badFiles are files that are not used, with what the person reads.
var badFiles = map[string]struct {
	make func(t *testing.T) string
	want string
}{
	"missing":           {func(t *testing.T) string { return filepath.Join(t.TempDir(), "token") }, "there is no such file: write a"},
	"a group may read":  {func(t *testing.T) string { return write(t, mark, 0o640) }, "others may read or change it (mode 0640), so it is not used: chmod 600 /"},
	"others may read":   {func(t *testing.T) string { return write(t, mark, 0o604) }, "(mode 0604)"},
	"others may write":  {func(t *testing.T) string { return write(t, mark, 0o602) }, "(mode 0602)"},
	"a directory":       {func(t *testing.T) string { return t.TempDir() }, "it is no regular file"},
	"a pipe":            {pipe, "it is no regular file"},
	"empty":             {func(t *testing.T) string { return write(t, " \n", 0o600) }, "it holds 0 words"},
	"two words":         {func(t *testing.T) string { return write(t, "token "+mark, 0o600) }, "it holds 2 words, and not one token"},
	"large":             {func(t *testing.T) string { return write(t, strings.Repeat(mark, 1000), 0o600) }, "it holds 1 words"},
	"somebody else's":   {foreign, "it belongs to user 4242"},
	"behind a bad link": {func(t *testing.T) string { return link(t, write(t, mark, 0o644)) }, "(mode 0644)"},
}

func pipe(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func foreign(t *testing.T) string {
	t.Helper()
	file := write(t, mark, 0o600)
	if err := os.Chown(file, 4242, 4242); err != nil {
		t.Fatal(err) // these tests run as root
	}
	return file
}

func link(t *testing.T, file string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// clean checks that nothing of a token is in an error.
func clean(t *testing.T, err error, kind error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	if strings.Contains(err.Error(), mark) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a token or a line end is in: %v", err)
	}
	for _, other := range []error{auth.ErrNoIdentity, auth.ErrRefused, auth.ErrUnavailable} {
		if errors.Is(err, other) != (other == kind) {
			t.Errorf("is %q: %v, of: %v", other, other != kind, err)
		}
	}
}
