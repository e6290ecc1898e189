package memfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
)

// writeGeneration makes generation g: its directories passable for the agent
// alone, the files in them, and at last each directory as its files need it.
func writeGeneration(tree *os.Root, owner inject.Owner, g generation, files []inject.File) error {
	if err := checkNames(files); err != nil {
		return err
	}
	if err := tree.RemoveAll(g.name()); err != nil { // of an agent that was killed
		return err
	}
	dirs := directories(files)
	for _, dir := range dirs {
		if err := tree.Mkdir(path.Join(g.name(), dir), 0o700); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := writeFile(tree, owner, path.Join(g.name(), file.Name), file); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := tree.Chmod(path.Join(g.name(), dir), directoryMode(below(dir, files))); err != nil {
			return err
		}
		if err := tree.Chown(path.Join(g.name(), dir), int(owner.UID), int(owner.GID)); err != nil {
			return err
		}
	}
	return nil
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

// holds reports whether generation g has exactly these files, each in its
// directory.
func holds(tree *os.Root, g generation, files []inject.File) (bool, error) {
	var there []string
	err := fs.WalkDir(tree.FS(), g.name(), func(name string, _ fs.DirEntry, err error) error {
		if name != g.name() {
			there = append(there, strings.TrimPrefix(name, g.name()+"/"))
		}
		return err
	})
	if err != nil {
		return false, err
	}
	expected := directories(files)[1:] // without the generation itself
	for _, file := range files {
		expected = append(expected, file.Name)
	}
	slices.Sort(there)
	slices.Sort(expected)
	if !slices.Equal(there, expected) {
		return false, nil
	}
	for _, file := range files {
		if same, err := holdsFile(tree, g, file); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func holdsFile(tree *os.Root, g generation, file inject.File) (bool, error) {
	path := g.name() + "/" + file.Name
	info, err := tree.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != file.Mode {
		return false, err
	}
	content, err := tree.ReadFile(path)
	if err != nil {
		return false, err
	}
	there := secret.NewValue(content)
	defer there.Wipe()
	return there.Equal(file.Value), nil
}

// directories returns the directories of a generation, the generation's own
// first, under the name "".
func directories(files []inject.File) []string {
	dirs := []string{""}
	for _, file := range files {
		if dir, _, nested := strings.Cut(file.Name, "/"); nested {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// below returns the files that somebody passes dir to read.
func below(dir string, files []inject.File) []inject.File {
	if dir == "" {
		return files
	}
	return slices.DeleteFunc(slices.Clone(files), func(f inject.File) bool { return !strings.HasPrefix(f.Name, dir+"/") })
}

// topNames returns what the tree links: the files that are in no directory,
// and the directories.
func topNames(files []inject.File) []string {
	names := make([]string, 0, len(files))
	for _, file := range files {
		name, _, _ := strings.Cut(file.Name, "/")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkNames accepts files whose names can stand in one tree together.
func checkNames(files []inject.File) error {
	dirs, seen := directories(files), map[string]bool{}
	for _, file := range files {
		if err := checkName(file.Name); err != nil {
			return err
		}
		if seen[file.Name] {
			return fmt.Errorf("two files of one tree are called %q", file.Name)
		}
		if slices.Contains(dirs, file.Name) {
			return fmt.Errorf("%q cannot be a file and a directory in one tree", file.Name)
		}
		seen[file.Name] = true
	}
	return nil
}

// checkName accepts one visible element of a path, or two: no tree is deeper.
func checkName(name string) error {
	dir, base, nested := strings.Cut(name, "/")
	if !visible(dir) || (nested && !visible(base)) {
		return fmt.Errorf("%q cannot be the name of a file in a tree", name)
	}
	return nil
}

// visible reports whether element can be one element of a path (in package
// io/fs they are UTF-8) and is none of the names that are the tree's own.
func visible(element string) bool {
	return utf8.ValidString(element) && element != "" && element != "." && !strings.HasPrefix(element, reserved) && !strings.ContainsAny(element, "/\x00")
}
