// Package memfs keeps the trees of all containers on a memory filesystem of
// the agent's own.
//
// A tree is one container's directory. It holds generations, of which one is
// current, and what the container sees are links through that one:
//
//	<dir>/<container ID>/
//	    ..1/password           an old generation, until Prune
//	    ..2/password           the current one: files with their owner and mode
//	    ..2/timeline/tls.crt   files may lie in a directory, one level deep
//	    ..data -> ..2          the swap replaces this link
//	    password -> ..data/password
//	    timeline -> ..data/timeline
//
// A container mounts the directory, not the files, so it follows the swap at
// once. Who opens ..data or a directory once and reads below it reads files of
// one generation, never a mixture; one that was pruned meanwhile has files
// missing, and is to be opened again. Everything is done below one os.Root: no
// name can lead outside.
//
// A tree's directory belongs to the owner of its files, which is how an agent
// that was restarted knows whose the next generation is.
package memfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/inject"
)

// ErrNotMemory says that a directory for secrets is not in memory.
var ErrNotMemory = errors.New("not a memory filesystem")

// FS implements inject.Trees.
type FS struct {
	root *os.Root
	dir  string

	mu sync.Mutex // one writer at a time; readers never wait
}

// Open returns the trees in dir, which must lie on a tmpfs or ramfs. What an
// agent that was killed left half made is removed.
func Open(dir string) (*FS, error) {
	if err := inMemory(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of the trees: %w", err)
	}
	f := &FS{root: root, dir: dir}
	if err := f.removeUnfinished(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

// Close ends the use of the directory. Trees stay.
func (f *FS) Close() error { return f.root.Close() }

// inMemory checks that what is written below dir stays in memory.
func inMemory(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("look at the filesystem of %s: %w", dir, err)
	}
	if stat.Type != unix.TMPFS_MAGIC && stat.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is on a disk: %w: secrets are kept on a tmpfs only; mount one there, or let the agent do it by starting it as root", dir, ErrNotMemory)
	}
	return nil
}

// unfinished is how the name of a tree begins while it is being made or removed.
const unfinished = ".unfinished-"

func (f *FS) removeUnfinished() error {
	names, err := f.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, unfinished) {
			if err := f.root.RemoveAll(name); err != nil {
				return fmt.Errorf("remove %s, left by an earlier agent: %w", name, err)
			}
		}
	}
	return nil
}

func (f *FS) names() ([]string, error) {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list the trees: %w", err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// List implements inject.Trees.
func (f *FS) List() ([]string, error) {
	names, err := f.names()
	return slices.DeleteFunc(names, func(name string) bool { return checkID(name) != nil }), err
}

// Create implements inject.Trees. The path never shows half a tree: it is made
// under another name.
func (f *FS) Create(container string, owner inject.Owner, files []inject.File) (string, error) {
	if err := checkID(container); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	making := unfinished + container
	if err := f.make(making, owner, files); err != nil {
		return "", errors.Join(fmt.Errorf("make the tree of %s: %w", container, err), f.root.RemoveAll(making))
	}
	if err := f.wipe(container); err != nil {
		return "", err
	}
	if err := f.root.Rename(making, container); err != nil {
		return "", fmt.Errorf("put the tree of %s in place: %w", container, err)
	}
	return filepath.Join(f.dir, container), nil
}

func (f *FS) make(name string, owner inject.Owner, files []inject.File) error {
	if err := f.root.RemoveAll(name); err != nil {
		return err
	}
	if err := f.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	tree, err := f.root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := writeSet(tree, owner, nothing, files); err != nil {
		return err
	}
	return tree.Chown(".", int(owner.UID), int(owner.GID))
}

// Swap implements inject.Trees.
func (f *FS) Swap(container string, files []inject.File) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tree, err := f.open(container)
	if err != nil {
		return false, err
	}
	defer tree.Close()
	owner, now, err := inspect(tree)
	if err != nil {
		return false, fmt.Errorf("read the tree of %s: %w", container, err)
	}
	if same, err := holds(tree, now, files); err != nil || same {
		return false, err
	}
	if err := writeSet(tree, owner, now, files); err != nil {
		return false, fmt.Errorf("write a generation of the tree of %s: %w", container, err)
	}
	return true, nil
}

// Prune implements inject.Trees. Nothing is overwritten: a slow reader may
// still have an old file open, and sees what it opened.
func (f *FS) Prune(container string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	tree, err := f.open(container)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer tree.Close()
	_, now, err := inspect(tree)
	if err != nil {
		return fmt.Errorf("read the tree of %s: %w", container, err)
	}
	return removeGenerations(tree, now)
}

// Remove implements inject.Trees: the container is over, nobody reads, so the
// files are overwritten with zeros before they are removed. That is as far as
// a program can go; the kernel frees the pages and clears them when they are
// next used.
func (f *FS) Remove(container string) error {
	if err := checkID(container); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wipe(container)
}

func (f *FS) wipe(container string) error {
	going := unfinished + "gone-" + container
	err := f.root.Rename(container, going)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take the tree of %s away: %w", container, err)
	}
	if err := errors.Join(f.zero(going), f.root.RemoveAll(going)); err != nil {
		return fmt.Errorf("wipe the tree of %s: %w", container, err)
	}
	return nil
}

// zero overwrites the files of a tree. It goes through a root of the tree's
// own, so that no link that somebody may have put there leads to another tree.
func (f *FS) zero(name string) error {
	tree, err := f.root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer tree.Close()
	return fs.WalkDir(tree.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		return zeroFile(tree, path)
	})
}

func zeroFile(tree *os.Root, path string) error {
	if err := tree.Chmod(path, 0o600); err != nil {
		return err
	}
	file, err := tree.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil {
		_, err = file.Write(make([]byte, info.Size()))
	}
	return errors.Join(err, file.Close())
}

func (f *FS) open(container string) (*os.Root, error) {
	if err := checkID(container); err != nil {
		return nil, err
	}
	tree, err := f.root.OpenRoot(container)
	if err != nil {
		return nil, fmt.Errorf("open the tree of %s: %w", container, err)
	}
	return tree, nil
}

// checkID accepts the engine's IDs: letters and digits.
func checkID(id string) error {
	alphanumeric := func(r rune) bool {
		return (r >= '0' && r <= '9') || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
	}
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return !alphanumeric(r) }) {
		return fmt.Errorf("%q is not a container ID", id)
	}
	return nil
}
