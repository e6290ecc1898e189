package render

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// templateEnding ends the name of a template's file, so that what editors
// leave beside it is none.
const templateEnding = ".tmpl"

// maxTemplate bounds the text of one template, in bytes.
const maxTemplate = 256 << 10

// stamp tells one state of a file from another without reading it.
type stamp struct {
	device, inode     uint64
	size              int64
	modified, changed syscall.Timespec
}

// open returns the directory of the templates, if it is to be trusted.
func (r *Renderer) open() (*os.Root, error) {
	if r.dir == "" {
		return nil, fs.ErrNotExist
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, fmt.Errorf("the directory of the templates: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = trust(r.dir, info, os.Geteuid())
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// program returns the template of that name as its file is now: an operator's
// edit takes effect at the next render.
func (r *Renderer) program(name string) (program, error) {
	root, err := r.open()
	if errors.Is(err, fs.ErrNotExist) {
		return program{}, fmt.Errorf("there is no template %q: this host has no directory of templates (%q)", name, r.dir)
	}
	if err != nil {
		return program{}, err
	}
	defer root.Close()
	// O_NONBLOCK keeps a FIFO from blocking the open.
	file, err := root.OpenFile(name+templateEnding, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return program{}, fmt.Errorf("there is no template %q; those in %s are: %s", name, r.dir, strings.Join(templates(root), ", "))
	}
	if err != nil {
		return program{}, fmt.Errorf("template %s: %w", name, err)
	}
	defer file.Close()
	return r.compiled(name, file)
}

// templates returns the names of the templates there are.
func templates(root *os.Root) (names []string) {
	paths, _ := fs.Glob(root.FS(), "[^.]*"+templateEnding) // the pattern is right
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(path, templateEnding))
	}
	return names
}

// compiled returns what the opened file says, which nobody can exchange
// meanwhile. It reads it only when it is another file than last time.
func (r *Renderer) compiled(name string, file *os.File) (program, error) {
	info, err := file.Stat()
	if err != nil {
		return program{}, fmt.Errorf("template %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return program{}, fmt.Errorf("template %s: %s is not a regular file", name, file.Name())
	}
	if err := trust(file.Name(), info, os.Geteuid()); err != nil {
		return program{}, fmt.Errorf("template %s: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := stampOf(info)
	if p, known := r.programs[name]; known && p.stamp == now {
		return p, nil
	}
	text, err := io.ReadAll(io.LimitReader(file, maxTemplate+1))
	if err != nil {
		return program{}, fmt.Errorf("template %s: %w", name, err)
	}
	if len(text) > maxTemplate {
		return program{}, fmt.Errorf("template %s: it has more than %d bytes", name, maxTemplate)
	}
	p, err := compile(name, string(text))
	if err != nil {
		return program{}, err
	}
	p.stamp = now
	r.programs[name] = p
	return p, nil
}

func stampOf(info fs.FileInfo) stamp {
	s := info.Sys().(*syscall.Stat_t) // what os.File.Stat returns on Linux
	return stamp{device: s.Dev, inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}

// trust says why somebody other than root and user could change what is at
// path, if so, and the command that mends it. It is the rule of the agent's
// configuration, which names the directory.
func trust(path string, info fs.FileInfo, user int) error {
	owner, mode := info.Sys().(*syscall.Stat_t), info.Mode()
	path = filepath.Clean(path)
	const consequence = "and so decide what containers read"
	switch {
	case owner.Uid != 0 && int(owner.Uid) != user:
		return fmt.Errorf("%s belongs to user %d, who can write it %s: run chown root %s", path, owner.Uid, consequence, path)
	case mode&0o002 != 0:
		return fmt.Errorf("every user can write %s (mode %04o) %s: run chmod o-w %s", path, mode.Perm(), consequence, path)
	case mode&0o020 != 0 && owner.Gid != 0:
		return fmt.Errorf("group %d can write %s (mode %04o) %s: run chmod g-w %s", owner.Gid, path, mode.Perm(), consequence, path)
	}
	return nil
}
