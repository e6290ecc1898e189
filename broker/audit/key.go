package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// keySize is that of the hash that the key is for, in bytes.
const keySize = 32

// keyFile holds the key in the directory that Key is given.
const keyFile = "audit.key"

// Key returns the key for MACs that is kept in dir, and makes one (mode 0600)
// when there is none. dir must be on a memory filesystem, so that the key never
// touches a disk: then records can be compared over restarts of the agent, but
// not over reboots. Agents that start at the same time get the same key.
func Key(dir string) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("making the key of the audit log: %w", err)
		}
		key, err = readKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of the audit log: %w", err)
	}
	return key, nil
}

// makeKey puts a new key at path unless one is there by now. The key is
// written under another name first: nobody ever sees half of one.
func makeKey(path string) error {
	draft, err := os.CreateTemp(filepath.Dir(path), keyFile+".*") // O_EXCL, mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	key := make([]byte, keySize)
	rand.Read(key) // never fails, says its documentation
	if _, err := draft.Write(key); err != nil {
		draft.Close()
		return err
	}
	if err := draft.Close(); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// readKey accepts only what makeKey of this user made.
func readKey(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid // what os.File.Stat yields on every Unix
	if !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 || int(owner) != os.Geteuid() || info.Size() != keySize {
		return nil, fmt.Errorf("%s is not a file of %d bytes with mode 0600 that belongs to user %d: "+
			"remove it; records from before cannot be compared with later ones then", path, keySize, os.Geteuid())
	}
	key := make([]byte, keySize)
	if _, err := file.ReadAt(key, 0); err != nil {
		return nil, err
	}
	return key, nil
}
