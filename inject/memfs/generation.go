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

	"github.com/quaymaster/quaymaster/broker/secret"
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
//  1. Write the next generation completely, with owner and modes. Whatever
//     fails until the swap: it is removed, and the old set is still the one.
//  2. Let the tree's directory be passable for those who may read the files.
//  3. Add a link for each new name. It leads nowhere until the swap, as if it
//     were not there.
//  4. Swap: make a link to the new generation and rename it over ..data. From
//     this moment every reader who begins sees the new set.
//  5. Remove the links of names that are no more, and all generations but the
//     new one and the one before.
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

func writeGeneration(tree *os.Root, owner inject.Owner, g generation, files []inject.File) error {
	if err := tree.RemoveAll(g.name()); err != nil { // of an agent that was killed
		return err
	}
	if err := tree.Mkdir(g.name(), 0o700); err != nil {
		return err
	}
	for _, file := range files {
		if err := checkName(file.Name); err != nil {
			return err
		}
		if err := writeFile(tree, owner, g.name()+"/"+file.Name, file); err != nil {
			return err
		}
	}
	if err := tree.Chmod(g.name(), directoryMode(files)); err != nil {
		return err
	}
	return tree.Chown(g.name(), int(owner.UID), int(owner.GID))
}

func writeFile(tree *os.Root, owner inject.Owner, path string, file inject.File) error {
	out, err := tree.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(file.Value.Reveal()) // the file in the container's tree is what the secret is for
	if err == nil {
		err = out.Chown(int(owner.UID), int(owner.GID))
	}
	if err == nil {
		err = out.Chmod(file.Mode) // after chown, which may clear bits
	}
	if err = errors.Join(err, out.Close()); errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the memory filesystem is full: %w", err)
	}
	return err
}

// directoryMode lets those pass and list who may read one of the files.
func directoryMode(files []inject.File) fs.FileMode {
	mode := fs.FileMode(0o700)
	for _, file := range files {
		for _, who := range []struct{ read, pass fs.FileMode }{{0o040, 0o050}, {0o004, 0o005}} {
			if file.Mode&who.read != 0 {
				mode |= who.pass
			}
		}
	}
	return mode
}

// link adds the links that are missing and returns those that have no file.
func link(tree *os.Root, owner inject.Owner, files []inject.File) (stale []string, err error) {
	entries, err := fs.ReadDir(tree.FS(), ".")
	if err != nil {
		return nil, err
	}
	present := map[string]bool{}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, reserved) {
			present[name] = true
			if !slices.ContainsFunc(files, func(f inject.File) bool { return f.Name == name }) {
				stale = append(stale, name)
			}
		}
	}
	for _, file := range files {
		if present[file.Name] {
			continue
		}
		if err := symlink(tree, owner, dataLink+"/"+file.Name, file.Name); err != nil {
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

// holds reports whether generation g has exactly these files.
func holds(tree *os.Root, g generation, files []inject.File) (bool, error) {
	entries, err := fs.ReadDir(tree.FS(), g.name())
	if err != nil || len(entries) != len(files) {
		return false, err
	}
	for _, file := range files {
		path := g.name() + "/" + file.Name
		info, err := tree.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		content, err := tree.ReadFile(path)
		if err != nil {
			return false, err
		}
		there := secret.NewValue(content)
		same := there.Equal(file.Value) && info.Mode().Perm() == file.Mode
		there.Wipe()
		if !same {
			return false, nil
		}
	}
	return true, nil
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

// checkName accepts one visible element of a path.
func checkName(name string) error {
	if name == "" || name == "." || strings.HasPrefix(name, reserved) || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q cannot be the name of a file in a tree", name)
	}
	return nil
}
