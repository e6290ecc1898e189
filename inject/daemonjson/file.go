package daemonjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxSize bounds the file, in bytes. It only stops nonsense.
const maxSize = 1 << 20

// backupSuffix follows the file's name; a dot and a number follow it from the
// second backup on.
const backupSuffix = ".quaymaster-backup"

// File is a daemon.json as it was when it was read.
type File struct {
	path    string // of the file itself, where a link leads
	text    []byte
	info    fs.FileInfo // nil: there is no file
	backups [][]byte    // the oldest first
}

// Read reads the file at path and its backups. That there is none is no error.
func Read(path string) (*File, error) {
	target, err := follow(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: target}
	if f.text, f.info, err = readFile(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for n := 1; ; n++ {
		backup, _, err := readFile(f.backupPath(n))
		if errors.Is(err, fs.ErrNotExist) {
			return f, nil
		}
		if err != nil {
			return nil, err
		}
		f.backups = append(f.backups, backup)
	}
}

// follow finds the file that a link leads to, so that the link stays one.
func follow(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return target, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSymlink {
		return "", fmt.Errorf("%s is a symbolic link to a file that does not exist: make that file or remove the link", path)
	}
	return path, nil
}

// readFile looks at the opened file; O_NONBLOCK keeps a FIFO from blocking the open.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, nil, err
	}
	if len(text) > maxSize {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes", path, maxSize)
	}
	return text, info, nil
}

func (f *File) backupPath(n int) string {
	if n == 1 {
		return f.path + backupSuffix
	}
	return fmt.Sprintf("%s%s.%d", f.path, backupSuffix, n)
}

// Path is where the file is, or would be.
func (f *File) Path() string { return f.path }

// Plan is what a file would become.
type Plan struct {
	file *File
	next []byte
	// farewell is what a running engine must read before next; nil: nothing.
	farewell []byte
}

// Install plans to enter change. Entering what is there changes nothing.
// Without change.Default, the default runtime stays what it is. The error
// wraps a *Refusal when the file has to be mended first.
func (f *File) Install(change Change) (*Plan, error) {
	if change.Name == "" || !filepath.IsAbs(change.Path) || filepath.Clean(change.Path) != change.Path {
		return nil, fmt.Errorf("runtime %q at %q: it needs a name and the absolute path of its binary", change.Name, change.Path)
	}
	next, err := install(f.text, change)
	return f.plan(next, err)
}

// Undo plans to take out what Install entered under the name of change,
// whatever its arguments are by now, and to put the default runtime back.
func (f *File) Undo(change Change) (*Plan, error) {
	if f.info == nil {
		return &Plan{file: f}, nil
	}
	next, err := undo(f.text, f.backups, change)
	plan, err := f.plan(next, err)
	if err == nil && plan.Changes() {
		plan.farewell, err = farewell(next)
	}
	return plan, err
}

func (f *File) plan(next []byte, err error) (*Plan, error) {
	if err != nil {
		return nil, fmt.Errorf("%s:%w", f.path, err)
	}
	return &Plan{file: f, next: next}, nil
}

// Changes reports whether the plan changes anything.
func (p *Plan) Changes() bool { return !bytes.Equal(p.file.text, p.next) }

// Diff shows the change as diff -u would; empty when there is none.
func (p *Plan) Diff() string { return diff(p.file.path, p.file.text, p.next) }

// Apply makes the change, after keeping a backup, or returns an error and the
// file is what it was. It refuses when the file has changed since it was read.
func (p *Plan) Apply() error {
	if !p.Changes() {
		return nil
	}
	if err := p.file.unchanged(); err != nil {
		return err
	}
	if err := p.file.backUp(); err != nil {
		return fmt.Errorf("keeping a backup of %s: %w", p.file.path, err)
	}
	return p.file.replace(p.next)
}

// Farewell makes the file, until Apply, one that makes a running engine forget
// the runtime: an engine that reads a file without the keys keeps what it knew
// (moby daemon/reload_unix.go), and a default runtime that is gone from the
// host would then stop every container from starting. After an Install there
// is nothing to forget and nothing is done.
func (p *Plan) Farewell() error {
	if p.farewell == nil {
		return nil
	}
	if err := p.file.unchanged(); err != nil {
		return err
	}
	if err := p.file.backUp(); err != nil {
		return fmt.Errorf("keeping a backup of %s: %w", p.file.path, err)
	}
	if err := p.file.replace(p.farewell); err != nil {
		return err
	}
	p.file.text = p.farewell
	p.file.backups = append(p.file.backups, p.farewell) // nobody needs a copy of it
	return nil
}

func (f *File) unchanged() error {
	text, _, err := readFile(f.path)
	if err != nil && (f.info != nil || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	if !bytes.Equal(text, f.text) {
		return fmt.Errorf("%s was changed by somebody else just now: look at it and try again", f.path)
	}
	return nil
}

// backUp keeps the file as it is, unless the newest backup already says the same.
func (f *File) backUp() error {
	if n := len(f.backups); n > 0 && bytes.Equal(f.backups[n-1], f.text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	path := f.backupPath(len(f.backups) + 1)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if err := f.fill(file, f.text); err != nil {
		os.Remove(path)
		return err
	}
	f.backups = append(f.backups, f.text)
	return nil
}

// replace makes text the whole file, at once; no text removes it.
func (f *File) replace(text []byte) error {
	step := f.rewrite
	if len(text) == 0 {
		step = func([]byte) error { return os.Remove(f.path) }
	}
	if err := step(text); err != nil {
		return fmt.Errorf("changing %s: %w", f.path, err)
	}
	return syncDir(filepath.Dir(f.path))
}

func (f *File) rewrite(text []byte) error {
	draft, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name()) // it is gone when all went well
	if err := f.fill(draft, text); err != nil {
		return err
	}
	return os.Rename(draft.Name(), f.path)
}

// fill writes text to a new file, gives it the owner and mode of f, brings it
// to the disk and closes it.
func (f *File) fill(file *os.File, text []byte) error {
	defer file.Close() // a second Close after an error is harmless
	mode := fs.FileMode(0o644)
	if f.info != nil {
		owner := f.info.Sys().(*syscall.Stat_t) // what os.File.Stat yields on every Unix
		if err := file.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
		mode = f.info.Mode().Perm()
	}
	if err := file.Chmod(mode); err != nil {
		return err
	}
	if _, err := file.Write(text); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return file.Close()
}

// syncDir brings a change of names to the disk.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
