package bootcache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// The names in the directory.
const (
	file       = "held"
	bad        = "held.bad"         // what was moved aside last
	unfinished = ".held.unfinished" // while it is written; of no use after a crash
)

// maxFile bounds what is read, in bytes: the values that an agent holds are 64
// MiB at most, and their names much less.
const maxFile = 128 << 20

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBad, fmt.Errorf(format, args...))
}

// read returns the file whole, if it is one that the agent could have written.
// No link is followed.
func (c *Cache) read() ([]byte, error) {
	found, err := c.root.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !found.Mode().IsRegular() {
		return nil, unusable("it is no file but %s: somebody else put it there", kind(found))
	}
	if others := openTo(found); others != "" {
		return nil, unusable("it %s, and the agent left it otherwise", others)
	}
	if found.Size() > maxFile {
		return nil, unusable("its %d bytes are more than an agent keeps", found.Size())
	}
	from, err := c.root.Open(file)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if opened, err := from.Stat(); err != nil || !os.SameFile(found, opened) {
		return nil, unusable("it was replaced while it was opened")
	}
	return io.ReadAll(io.LimitReader(from, maxFile))
}

func kind(info os.FileInfo) string {
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a directory"
	}
	return "something special"
}

// aside keeps a file that is not used, for whoever wants to know what happened:
// it is encrypted. The next one takes its place.
func (c *Cache) aside(because error) error {
	c.written = written{}
	if err := c.root.Rename(file, bad); err != nil {
		return fmt.Errorf("%s: %w; it could not be moved aside: %w", c.path(file), because, err)
	}
	return fmt.Errorf("%s: %w; it is now %s", c.path(file), because, c.path(bad))
}

// replace writes a new file beside the old one, has the disk take it, and then
// lets it take the old one's place.
func (c *Cache) replace(content []byte) (os.FileInfo, error) {
	info, err := c.write(content)
	if err == nil {
		err = c.root.Rename(unfinished, file)
	}
	if err != nil {
		c.root.Remove(unfinished) // to make room; the next one removes it, else
		return nil, hint(err)
	}
	return info, c.sync()
}

func (c *Cache) write(content []byte) (os.FileInfo, error) {
	if err := c.remove(unfinished); err != nil {
		return nil, err
	}
	to, err := c.root.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = to.Write(content)
	if err == nil {
		err = to.Sync()
	}
	info, statErr := to.Stat()
	closeErr := to.Close()
	for _, err := range []error{err, statErr, closeErr} {
		if err != nil {
			return nil, err // the first says why
		}
	}
	return info, nil
}

// sync has the disk take the names.
func (c *Cache) sync() error {
	dir, err := c.root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// remove removes what there is of names.
func (c *Cache) remove(names ...string) error {
	c.written = written{}
	for _, name := range names {
		if err := c.root.RemoveAll(name); err != nil {
			return fmt.Errorf("remove from the boot cache: %w", err)
		}
	}
	return c.sync()
}

// hint says what to do about a disk that takes no more.
func hint(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: make room there; until then the file stays as it was", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: mount it for writing; until then the file stays as it was", err)
	}
	return err
}
