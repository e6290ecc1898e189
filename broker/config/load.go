package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxSize bounds one file, in bytes. It only stops nonsense: a thousand grants
// take a fifth of it.
const maxSize = 1 << 20

// loader carries what is known so far from file to file.
type loader struct {
	config   Config
	checks   []CheckLabels
	main     string
	files    []string         // in the order they were read
	places   map[string]Place // where each key was given last, by key
	refused  map[string]bool  // the keys with a problem: nothing more is said of them
	broken   bool             // some file could not be read at all
	content  bool             // some file said something
	instead  *Text            // stands in the place of a file of conf.d
	problems Problems
	warnings []Problem
}

// Load reads the file at path and conf.d/*.yaml beside it. The error is of
// type Problems and lists everything that is wrong; the Config is then zero.
// Warnings do not stand in the way. What the labels mean that profiles stand
// for is left to checks.
func Load(path string, checks ...CheckLabels) (Config, []Problem, error) {
	return newLoader(path, checks).load()
}

func newLoader(path string, checks []CheckLabels) *loader {
	return &loader{config: Default(), checks: checks, main: path, places: map[string]Place{}, refused: map[string]bool{}}
}

func (l *loader) load() (Config, []Problem, error) {
	l.read()
	if !l.broken {
		l.check()
	}
	if len(l.problems) > 0 {
		return Config{}, l.warnings, l.inOrder()
	}
	return l.config, l.warnings, nil
}

// read reads all files.
func (l *loader) read() {
	l.directory(filepath.Dir(l.main), fs.ModeSticky) // there, nobody can replace another's file
	l.file(l.main)
	l.extras(filepath.Join(filepath.Dir(l.main), "conf.d"))
}

// inOrder are the problems in the order of the files.
func (l *loader) inOrder() Problems {
	slices.SortStableFunc(l.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(slices.Index(l.files, a.File), slices.Index(l.files, b.File)),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return l.problems
}

// fault notes a problem at the place where key was given, or else at that of
// the mapping it belongs in.
func (l *loader) fault(key, format string, args ...any) {
	l.faultAt(l.place(key), key, key+": "+fmt.Sprintf(format, args...))
}

func (l *loader) faultAt(place Place, key, message string) {
	l.refused[key] = true
	l.problems = append(l.problems, Problem{Place: place, Key: key, Message: message})
}

func (l *loader) place(key string) Place {
	for key != "" {
		if place, given := l.places[key]; given {
			return place
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return Place{File: l.main}
}

// unusable notes a problem with a file or directory as a whole.
func (l *loader) unusable(path string, err error) {
	l.broken = true
	l.problems = append(l.problems, Problem{Place: Place{File: path}, Message: err.Error()})
}

// directory checks who may put files beside the ones that are read; a directory
// with a bit of harmless is as good as one that others cannot write. What is
// wrong with opening it is better told by the file's own error.
func (l *loader) directory(path string, harmless fs.FileMode) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	mode := info.Mode()
	if mode&harmless != 0 {
		mode &^= 0o022
	}
	if err := trust(path, mode, info.Sys().(*syscall.Stat_t), os.Geteuid()); err != nil {
		l.files = append(l.files, path)
		l.unusable(path, err)
	}
}

// extras reads the files of conf.d, if there is one.
func (l *loader) extras(dir string) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if l.instead != nil {
			l.file(l.instead.Origin)
		}
		return
	}
	l.files = append(l.files, dir)
	if err != nil {
		l.unusable(dir, fmt.Errorf("cannot be read as a directory: %w", cause(err)))
		return
	}
	l.directory(dir, 0)
	var paths []string
	for _, entry := range entries {
		paths = append(paths, filepath.Join(dir, entry.Name()))
	}
	if l.instead != nil && !slices.Contains(paths, l.instead.Origin) {
		paths = append(paths, l.instead.Origin)
	}
	slices.Sort(paths)
	for _, path := range paths {
		switch {
		case strings.HasPrefix(filepath.Base(path), "."): // what editors leave behind
		case filepath.Ext(path) == ".yaml":
			l.file(path)
		case filepath.Ext(path) == ".yml":
			l.warnings = append(l.warnings, Problem{Place: Place{File: path},
				Message: "is not read: the name of a configuration file ends in .yaml"})
		}
	}
}

// file reads one file on top of what is known.
func (l *loader) file(path string) {
	l.files = append(l.files, path)
	data, err := l.readFile(path)
	if err != nil {
		l.unusable(path, err)
		return
	}
	node, problem := parse(path, data)
	switch {
	case problem != nil:
		l.broken = true
		l.problems = append(l.problems, *problem)
	case node != nil:
		l.content = true
		(&reader{loader: l, file: path}).root(node)
	}
}

func (l *loader) readFile(path string) ([]byte, error) {
	if l.instead != nil && path == l.instead.Origin {
		return l.instead.Data, nil
	}
	return readTrusted(path)
}

// readTrusted returns the content of a file that only root and the agent's own
// user can change. It looks at the opened file, which nobody can exchange
// meanwhile; O_NONBLOCK keeps a FIFO from blocking the open.
func readTrusted(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("does not exist; " + smallest)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be opened by user %d: %w", os.Geteuid(), cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot be examined: %w", cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("is %s, not a regular file", kindOf(info.Mode()))
	}
	if err := trust(path, info.Mode(), info.Sys().(*syscall.Stat_t), os.Geteuid()); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", cause(err))
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("is larger than %d bytes: split it into files in conf.d", maxSize)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil
}

// cause takes away the path that the error would say a second time.
func cause(err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	default:
		return "a device"
	}
}

// trust says why somebody other than root and user could change what is at
// path, if so, and the command that mends it.
func trust(path string, mode fs.FileMode, owner *syscall.Stat_t, user int) error {
	const consequence = "and so give any container any secret"
	switch {
	case owner.Uid != 0 && int(owner.Uid) != user:
		return fmt.Errorf("belongs to user %d, who can write it %s: run chown root %s", owner.Uid, consequence, path)
	case mode&0o002 != 0:
		return fmt.Errorf("every user can write it (mode %04o) %s: run chmod o-w %s", mode.Perm(), consequence, path)
	case mode&0o020 != 0 && owner.Gid != 0:
		return fmt.Errorf("group %d can write it (mode %04o) %s: run chmod g-w %s", owner.Gid, mode.Perm(), consequence, path)
	}
	return nil
}
