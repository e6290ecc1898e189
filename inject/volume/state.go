package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The directories of the state, and how the name of a file begins while it is
// being written.
const (
	volumesDir = "volumes"
	mountsDir  = "mounts"
	unfinished = ".unfinished-"
)

// volume is what is kept of a volume. It is no secret.
type volume struct {
	Name    string    `json:"name"`
	Profile string    `json:"profile,omitempty"`
	Created time.Time `json:"created"`
}

// mount is what is kept of a mount that is in use.
type mount struct {
	Volume     string   `json:"volume"`
	Containers []string `json:"containers"` // those that it may be
	Mountpoint string   `json:"mountpoint"` // the tree
	Count      int      `json:"count"`      // how often it is mounted
}

// state keeps volumes and mounts as one small file each, replaced as a whole.
type state struct{ root *os.Root }

// openState makes the directories (mode 0700) where they are missing.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of its state: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of its state: %w", err)
	}
	for _, below := range []string{volumesDir, mountsDir} {
		if err := root.Mkdir(below, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, errors.Join(fmt.Errorf("make the directory of its %s: %w", below, err), root.Close())
		}
	}
	return &state{root}, nil
}

func (s *state) close() error { return s.root.Close() }

// volumeFile is a file's name for a volume of any name, of any length and with
// any character.
func volumeFile(name string) string {
	digest := sha256.Sum256([]byte(name))
	return filepath.Join(volumesDir, hex.EncodeToString(digest[:]))
}

// mountFile takes an ID that is hex.
func mountFile(id string) string { return filepath.Join(mountsDir, id) }

// putVolume keeps a volume so that it survives a power failure, because the
// engine goes on believing in what it was told is there.
func (s *state) putVolume(v volume) error {
	if err := s.put(volumeFile(v.Name), v, (*os.File).Sync); err != nil {
		return err
	}
	dir, err := s.root.Open(volumesDir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// putMount keeps a mount. Its tree survives no power failure either.
func (s *state) putMount(id string, m mount) error {
	return s.put(mountFile(id), m, func(*os.File) error { return nil })
}

// put replaces a file. sync is called with the new one before it takes the
// place of the old one.
func (s *state) put(name string, content any, sync func(*os.File) error) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	dir, base := filepath.Split(name)
	making := dir + unfinished + base
	file, err := s.root.OpenFile(making, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, sync(file), file.Close()); err != nil {
		return errors.Join(err, s.remove(making))
	}
	return s.root.Rename(making, name)
}

func (s *state) get(name string, content any) error {
	text, err := s.root.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, content)
}

// remove removes a file that may not be there.
func (s *state) remove(name string) error {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// forgetGone forgets the mounts whose tree is gone: with the host's last run, or
// because the container's end was seen where the engine did not unmount.
func (s *state) forgetGone() error {
	files, err := s.names(mountsDir)
	errs := []error{err}
	for _, file := range files {
		var m mount
		if err := s.get(file, &m); err == nil {
			if _, err := os.Stat(m.Mountpoint); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		errs = append(errs, s.remove(file))
	}
	return errors.Join(errs...)
}

// names returns the files in a directory.
func (s *state) names(dir string) ([]string, error) {
	entries, err := fs.ReadDir(s.root.FS(), dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), unfinished) {
			names = append(names, filepath.Join(dir, entry.Name()))
		}
	}
	return names, nil
}
