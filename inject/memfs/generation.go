package memfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/quaymaster/quaymaster/inject"
)

const (
	reserved = ".."          // begins every name that is not a file's
	dataLink = "..data"      // names the current generation
	newLink  = "..data.new"  // becomes dataLink
	nothing  = generation(0) // before the first
)

// generation is the number of one version of a tree; its directory's name is
// the number after two dots.
type generation int

func (g generation) name() string { return reserved + strconv.Itoa(int(g)) }

// writeSet makes files the content of the tree, whose current generation is
// now:
//
//  1. Write the next generation completely, with its directories, owner and
//     modes. Whatever fails until the swap: it is removed, and the old set is
//     still the one.
//  2. Let the tree's directory be passable for those who may read the files.
//  3. Add a link for each new top-level name, be it of a file or of a directory:
//     what lies in a directory is only reached through the directory's link, so
//     that who holds the directory open holds one generation. The link leads
//     nowhere until the swap, as if it were not there.
//  4. Swap: make a link to the new generation and rename it over ..data. From
//     this moment every reader who begins sees the new set.
//  5. Remove the links of top-level names that are no more, and all generations
//     but the new one and the one before.
func writeSet(tree *os.Root, owner inject.Owner, now generation, files []inject.File) error {
	next := now + 1
	stale, err := prepare(tree, owner, next, files) // 1, 2, 3
	if err == nil {
		err = swap(tree, owner, next) // 4
	}
	if err != nil {
		return errors.Join(err, tree.RemoveAll(next.name()))
	}
	for _, name := range stale { // 5
		if err := tree.Remove(name); err != nil {
			return err
		}
	}
	return removeGenerations(tree, now, next)
}

func prepare(tree *os.Root, owner inject.Owner, next generation, files []inject.File) (stale []string, err error) {
	if err := writeGeneration(tree, owner, next, files); err != nil { // 1
		return nil, err
	}
	if err := tree.Chmod(".", directoryMode(files)); err != nil { // 2
		return nil, err
	}
	return link(tree, owner, files) // 3
}

// link adds the links that are missing and returns those that lead to nothing
// of the new set.
func link(tree *os.Root, owner inject.Owner, files []inject.File) (stale []string, err error) {
	entries, err := fs.ReadDir(tree.FS(), ".")
	if err != nil {
		return nil, err
	}
	wanted, present := topNames(files), map[string]bool{}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, reserved) {
			present[name] = true
			if !slices.Contains(wanted, name) {
				stale = append(stale, name)
			}
		}
	}
	for _, name := range wanted {
		if present[name] {
			continue
		}
		if err := symlink(tree, owner, dataLink+"/"+name, name); err != nil {
			return nil, err
		}
	}
	return stale, nil
}

func swap(tree *os.Root, owner inject.Owner, next generation) error {
	if err := tree.Remove(newLink); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an agent that was killed
		return err
	}
	if err := symlink(tree, owner, next.name(), newLink); err != nil {
		return err
	}
	return tree.Rename(newLink, dataLink)
}

func symlink(tree *os.Root, owner inject.Owner, target, name string) error {
	if err := tree.Symlink(target, name); err != nil {
		return err
	}
	return tree.Lchown(name, int(owner.UID), int(owner.GID))
}

// inspect reads from the tree itself whose it is and which generation is current.
func inspect(tree *os.Root) (inject.Owner, generation, error) {
	info, err := tree.Stat(".")
	if err != nil {
		return inject.Owner{}, nothing, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inject.Owner{}, nothing, errors.New("the owner of the directory is not known")
	}
	target, err := tree.Readlink(dataLink)
	if err != nil {
		return inject.Owner{}, nothing, err
	}
	number, err := strconv.Atoi(strings.TrimPrefix(target, reserved))
	if err != nil {
		return inject.Owner{}, nothing, fmt.Errorf("%s leads to %q, which is not a generation", dataLink, target)
	}
	return inject.Owner{UID: stat.Uid, GID: stat.Gid}, generation(number), nil
}

// removeGenerations removes all generations that are not in keep.
func removeGenerations(tree *os.Root, keep ...generation) error {
	entries, err := fs.ReadDir(tree.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		number, err := strconv.Atoi(strings.TrimPrefix(entry.Name(), reserved))
		if !entry.IsDir() || err != nil || slices.Contains(keep, generation(number)) {
			continue
		}
		if err := tree.RemoveAll(entry.Name()); err != nil {
			return err
		}
	}
	return nil
}
