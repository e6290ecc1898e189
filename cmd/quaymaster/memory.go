package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/memo"
	"github.com/quaymaster/quaymaster/inject/memfs"
)

// memory is the agent's memory filesystem.
type memory struct {
	trees    *memfs.FS
	memos    *memo.Dir
	view     string // the directory of the trees, as volumes see it: read-only
	auditKey []byte
}

func (m memory) close() error { return errors.Join(m.trees.Close(), m.memos.Close()) }

// openMemory mounts the filesystem, or finds it as an earlier agent left it.
func openMemory(c config.Config) (memory, error) {
	root := memoryRoot(c)
	if err := memfs.Mount(root, memfs.Options{AllowSwap: c.AllowSwap}); err != nil {
		return memory{}, err
	}
	key, err := audit.Key(root)
	if err != nil {
		return memory{}, err
	}
	below := filepath.Join(root, "trees")
	if err := os.Mkdir(below, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return memory{}, fmt.Errorf("make the directory of the trees: %w", err)
	}
	view := filepath.Join(c.Paths.Run, "view")
	if err := memfs.MountView(below, view); err != nil {
		return memory{}, err
	}
	trees, err := memfs.Open(below)
	if err != nil {
		return memory{}, err
	}
	memos, err := memo.Open(filepath.Join(root, "memos"))
	if err != nil {
		return memory{}, errors.Join(err, trees.Close())
	}
	return memory{trees: trees, memos: memos, view: view, auditKey: key}, nil
}

func memoryRoot(c config.Config) string { return filepath.Join(c.Paths.Run, "memory") }
