// Package static makes evidence of what somebody has put on this machine: a
// Vault token, or a secret ID of an AppRole. It is for a developer's laptop,
// which has no cloud to speak for it.
//
// That is the one thing which every other identity avoids: a static credential
// on a disk. So it is to be used only where the configuration says
// allow_static_identity, it says STATIC IDENTITY wherever a principal is shown,
// and a file that others can read is refused.
//
//	TokenFile       a file with a token, read anew at each login: the token is
//	                the login
//	WrappedAppRole  a file with a response-wrapping token: whoever unwraps it
//	                first has the secret ID, so that a second one finds out
package static

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// loud is how every principal begins.
const loud = "STATIC IDENTITY: "

// maxFile is the most bytes that a file with a token may have. A service token
// has a hundred, a batch token some hundreds.
const maxFile = 8 << 10

// TokenFile makes evidence of the token in a file. It implements auth.Attestor
// and keeps nothing between attestations.
type TokenFile struct{ file string }

// NewTokenFile checks the name of the file, which it does not read yet.
func NewTokenFile(file string) (*TokenFile, error) {
	if err := checkName(file); err != nil {
		return nil, err
	}
	return &TokenFile{file}, nil
}

// Attest implements auth.Attestor. A token has no audience.
func (t *TokenFile) Attest(context.Context, string) (auth.Evidence, error) {
	token, err := read(t.file)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no such file: write a Vault token to it (vault print token), with mode 600: %w", auth.ErrNoIdentity)
	}
	if err != nil {
		return auth.Evidence{}, fmt.Errorf("the token in %s: %w", t.file, err)
	}
	about := "a token in " + t.file
	return auth.Evidence{Method: auth.TokenMethod, Principal: loud + about, Static: about, Login: map[string]secret.Value{"token": token}}, nil
}

func checkName(file string) error {
	if !filepath.IsAbs(file) {
		return fmt.Errorf("the file of a static identity %q: write its whole path, from / on", file)
	}
	return nil
}

// read is the one word in a file that nobody else can read. An error wraps
// auth.ErrNoIdentity, or fs.ErrNotExist, and holds nothing of the content.
func read(file string) (secret.Value, error) {
	opened, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is refused, not waited for
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, fs.ErrNotExist
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("%w: %w", err, auth.ErrNoIdentity)
	}
	defer opened.Close()
	if err := private(opened, file); err != nil {
		return secret.Value{}, err
	}
	content, err := io.ReadAll(io.LimitReader(opened, maxFile+1))
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading it: %w: %w", err, auth.ErrNoIdentity)
	}
	defer clear(content)
	words := strings.Fields(string(content))
	if len(words) != 1 || len(content) > maxFile {
		return secret.Value{}, fmt.Errorf("it holds %d words, and not one token: %w", len(words), auth.ErrNoIdentity)
	}
	return secret.NewValue([]byte(words[0])), nil
}

// private looks at the file that is open, which cannot be exchanged meanwhile.
func private(opened *os.File, file string) error {
	about, err := opened.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", err, auth.ErrNoIdentity)
	}
	mode := about.Mode()
	if !mode.IsRegular() {
		return fmt.Errorf("it is no regular file (%s): %w", mode, auth.ErrNoIdentity)
	}
	if mode.Perm()&0o077 != 0 {
		return fmt.Errorf("others may read or change it (mode %04o), so it is not used: chmod 600 %s: %w", mode.Perm(), file, auth.ErrNoIdentity)
	}
	if owner := about.Sys().(*syscall.Stat_t).Uid; owner != 0 && int(owner) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, who could put anything there, so it is not used: chown it to the user that the agent runs as: %w",
			owner, auth.ErrNoIdentity)
	}
	return nil
}
