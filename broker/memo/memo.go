// Package memo keeps what the next agent must know of a container and cannot
// learn from its tree or from the engine: through which gate it came, and which
// profile said what it wants; as which user its process runs, on
// which grants may depend; whether it is still to be told of a rotation, or
// would have other variables by now; and which leases are its own, so that they
// are revoked when it ends and do not live on until their time is over.
//
// A memo holds no secret: a lease's ID gives access to nothing, and variables
// are summed under the audit log's key. Memos lie beside
// the trees on the agent's memory filesystem all the same, one file for each
// tree and each container, because they are of use for as long as the containers
// run.
package memo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// Memo is about one run of a container, by the name of its tree, and about the
// container itself where that has the same name.
type Memo struct {
	Gate      string `json:"gate,omitempty"`
	Profile   string `json:"profile,omitempty"`
	Container string `json:"container,omitempty"` // where the tree has another name
	// Task is what a swarm\'s manager said of a task that was given a secret.
	Task *inject.Task   `json:"task,omitempty"`
	User *workload.User `json:"user,omitempty"` // nil: not known
	// Variables tells those that its process began with from others; empty:
	// not known.
	Variables string  `json:"variables,omitempty"`
	Owed      bool    `json:"owed,omitempty"` // its strategy is still to be applied
	Leases    []Lease `json:"leases,omitempty"`
}

// Lease is one that nobody but the container uses.
type Lease struct {
	Provider string `json:"provider"` // its name in the configuration
	ID       string `json:"id"`
}

// Dir is a directory of memos. One goroutine uses it at a time.
type Dir struct{ root *os.Root }

// Open makes the directory (mode 0700) when it is missing. It should lie on a
// memory filesystem.
func Open(dir string) (*Dir, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the directory of memos: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of memos: %w", err)
	}
	return &Dir{root}, nil
}

// Close ends the use of the directory. Memos stay.
func (d *Dir) Close() error { return d.root.Close() }

// unfinished is how the name of a memo begins while it is written.
const unfinished = ".unfinished-"

// Put replaces the memo about a container as a whole.
func (d *Dir) Put(container string, m Memo) error {
	text, err := json.Marshal(m)
	if err == nil {
		err = d.root.WriteFile(unfinished+container, text, 0o600)
	}
	if err == nil {
		err = d.root.Rename(unfinished+container, container)
	}
	if err != nil {
		return fmt.Errorf("write the memo about container %s: %w", container, err)
	}
	return nil
}

// Remove removes the memo about a container, if there is one.
func (d *Dir) Remove(container string) error {
	if err := d.root.Remove(container); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the memo about container %s: %w", container, err)
	}
	return nil
}

// All returns all memos, by container ID, and beside them the errors of those
// that cannot be read.
func (d *Dir) All() (map[string]Memo, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	errs, memos := []error{err}, map[string]Memo{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), unfinished) {
			continue
		}
		m, err := d.read(entry.Name())
		if err != nil {
			errs = append(errs, fmt.Errorf("read the memo about container %s: %w", entry.Name(), err))
			continue
		}
		memos[entry.Name()] = m
	}
	return memos, errors.Join(errs...)
}

func (d *Dir) read(name string) (m Memo, err error) {
	text, err := d.root.ReadFile(name)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(text, &m)
}
