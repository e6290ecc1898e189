package aws

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// maxNonce is how long a nonce may be for Vault, in bytes.
const maxNonce = 128

// nonce is what ties an instance to its first login of type ec2. It is made or
// read once; afterwards the file does not count any more.
type nonce struct {
	file string // empty: it is kept in memory only

	mu   sync.Mutex
	held secret.Value
}

// get returns the nonce. An error wraps auth.ErrNoIdentity: somebody must mend
// the file.
func (n *nonce) get() (secret.Value, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held.Len() > 0 {
		return n.held, nil
	}
	made := []byte(newNonce())
	if n.file == "" {
		n.held = secret.NewValue(made)
		return n.held, nil
	}
	err := keep(n.file, made)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return secret.Value{}, fmt.Errorf("keeping the nonce of ec2 logins: %w: %w", err, auth.ErrNoIdentity)
	}
	kept, err := readNonce(n.file)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the nonce of ec2 logins: %w: %w", err, auth.ErrNoIdentity)
	}
	n.held = secret.NewValue(kept)
	return n.held, nil
}

// newNonce has 256 random bits.
func newNonce() string {
	var random [32]byte
	rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

// keep writes a new file and fails with fs.ErrExist when there is one. It
// appears with its whole content, so that nobody takes half a nonce for one.
func keep(file string, content []byte) error {
	draft, err := os.CreateTemp(filepath.Dir(file), ".nonce-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = draft.Write(content)
	if err := errors.Join(err, draft.Close()); err != nil {
		return err
	}
	return os.Link(draft.Name(), file)
}

// readNonce refuses what others could have read or written.
func readNonce(file string) ([]byte, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is %s, not a file for its owner alone: chmod 600 it, or delete it for a new nonce, "+
			"which Vault takes only after the instance's entry in identity-accesslist was deleted", file, info.Mode())
	}
	content, err := io.ReadAll(io.LimitReader(opened, maxNonce+2))
	if err != nil {
		return nil, err
	}
	content = bytes.TrimSpace(content)
	if len(content) == 0 || len(content) > maxNonce {
		return nil, fmt.Errorf("%s holds no nonce of 1 to %d bytes: delete it for a new one, "+
			"which Vault takes only after the instance's entry in identity-accesslist was deleted", file, maxNonce)
	}
	return content, nil
}
