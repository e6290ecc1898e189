// Package daemonjson enters the runtime gate into Docker's daemon.json and
// takes it out again.
//
// Read looks at the file; Install and Undo return a Plan: what the file would
// become. A Plan can be shown as a diff and is applied as a whole or not at
// all. The file belongs to somebody else, so only the bytes of the change are
// touched, and a file that is not understood is left alone.
//
// Before the file is changed, what it was is kept beside it in
// daemon.json.quaymaster-backup, and for later changes in …-backup.2 and so
// on. A backup is never overwritten. Undo looks there for what Install cannot
// leave in the file itself: the default runtime that there was before. A file
// that was not there has an empty backup, and Undo removes the file.
//
// dockerd reads runtimes and default-runtime again on SIGHUP: see Reload, and
// Plan.Farewell for what it takes to make it forget.
package daemonjson

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
)

// The keys of daemon.json that matter here, as dockerd's reference names them.
const (
	keyRuntimes = "runtimes"
	keyDefault  = "default-runtime"
	keyPath     = "path"
	keyArgs     = "runtimeArgs"
)

// byteOrderMark may begin the file: dockerd skips it.
const byteOrderMark = "\ufeff"

// Change is what is entered.
type Change struct {
	Name    string   // of the runtime
	Path    string   // of its binary; absolute
	Args    []string // given to it before those of the engine
	Default bool     // make it the runtime of containers that name none
}

// Refusal says why a file is left alone, and where in it.
type Refusal struct {
	Line, Column int // counted from 1
	Reason       string
}

// Error begins with the position, so that a file name and a colon can precede it.
func (r *Refusal) Error() string { return fmt.Sprintf("%d:%d: %s", r.Line, r.Column, r.Reason) }

// document is a daemon.json that can be edited.
type document struct {
	original []byte
	mark     string // the byte order mark, if there is one
	text     []byte // without it
	blank    bool   // there was nothing but space
	root     jsonedit.Node
}

// parse reads text; what holds nothing but space is an empty object to dockerd.
func parse(text []byte) (*document, error) {
	d := &document{original: text}
	if rest, found := bytes.CutPrefix(text, []byte(byteOrderMark)); found {
		d.mark, text = byteOrderMark, rest
	}
	if len(bytes.TrimSpace(text)) == 0 {
		d.blank, text = true, []byte("{}")
	}
	if err := d.read(text); err != nil {
		return nil, err
	}
	if d.root.Kind() != jsonedit.Object {
		return nil, d.refuse(d.root, "an object wanted here, found %s", d.root.Kind())
	}
	if r := d.root.Get(keyRuntimes); r.Kind() != jsonedit.Object && r.Kind() != jsonedit.Missing {
		return nil, d.refuse(r, "%q: an object wanted here, found %s", keyRuntimes, r.Kind())
	}
	if r := d.root.Get(keyDefault); r.Kind() != jsonedit.String && r.Kind() != jsonedit.Missing {
		return nil, d.refuse(r, "%q: a string wanted here, found %s", keyDefault, r.Kind())
	}
	return d, nil
}

func (d *document) read(text []byte) error {
	root, err := jsonedit.Parse(text)
	if syntax := (*jsonedit.SyntaxError)(nil); errors.As(err, &syntax) {
		return &Refusal{Line: syntax.Line, Column: syntax.Column, Reason: "cannot be read as JSON: " + syntax.Reason}
	}
	d.text, d.root = text, root
	return err
}

// refuse names the place of node.
func (d *document) refuse(node jsonedit.Node, format string, args ...any) error {
	start, _ := node.Range()
	before := d.text[:start]
	return &Refusal{
		Line:   1 + bytes.Count(before, []byte("\n")),
		Column: 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]),
		Reason: fmt.Sprintf(format, args...),
	}
}

// edit makes one edit. One after the other, so that each is laid out and taken
// away as if it were the only one.
func (d *document) edit(edit jsonedit.Edit, err error) error {
	if err != nil {
		return err
	}
	next, err := jsonedit.Apply(d.text, edit)
	if err != nil {
		return err
	}
	return d.read(next)
}

// set gives a member of object its value, wherever it stands.
func (d *document) set(object jsonedit.Node, name, value string) error {
	if old := object.Get(name); old.Kind() != jsonedit.Missing {
		return d.edit(old.Replace(value), nil)
	}
	return d.edit(object.Insert(name, value))
}

func (d *document) bytes() []byte { return append([]byte(d.mark), d.text...) }

// fresh is a file whose layout suits people, for want of one.
const fresh = "{\n  \"" + keyRuntimes + "\": {\n  }\n}\n"

// install returns text with the change in it; text itself when it is there.
func install(text []byte, change Change) ([]byte, error) {
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	if d.blank {
		if err := d.read([]byte(fresh)); err != nil {
			return nil, err
		}
	}
	if err := d.installRuntime(change); err != nil {
		return nil, err
	}
	if change.Default && !isDefault(d.root, change.Name) {
		if err := d.set(d.root, keyDefault, jsonedit.Quote(change.Name)); err != nil {
			return nil, err
		}
	}
	return d.bytes(), nil
}

func (d *document) installRuntime(change Change) error {
	runtimes := d.root.Get(keyRuntimes)
	if runtimes.Kind() == jsonedit.Missing {
		return d.set(d.root, keyRuntimes, "{"+jsonedit.Quote(change.Name)+": "+change.entry()+"}")
	}
	entry := runtimes.Get(change.Name)
	if entry.Kind() == jsonedit.Missing {
		return d.set(runtimes, change.Name, change.entry())
	}
	if err := d.checkOurs(entry, change); err != nil {
		return err
	}
	if path, _ := entry.Get(keyPath).Text(); path != change.Path {
		if err := d.set(entry, keyPath, jsonedit.Quote(change.Path)); err != nil {
			return err
		}
	}
	return d.updateArgs(change)
}

// updateArgs changes the arguments of an entry that is there.
func (d *document) updateArgs(change Change) error {
	entry := d.root.Get(keyRuntimes, change.Name)
	if slices.Equal(args(entry), change.Args) {
		return nil
	}
	if len(change.Args) == 0 {
		return d.edit(entry.Remove(keyArgs))
	}
	return d.set(entry, keyArgs, array(change.Args))
}

func args(entry jsonedit.Node) []string {
	var all []string
	for element := range entry.Get(keyArgs).Elements() {
		arg, _ := element.Text() // what is no string is not equal to ours
		all = append(all, arg)
	}
	return all
}

// checkOurs refuses a runtime that has the name by chance. One with the same
// program in another directory is ours: packages move.
func (d *document) checkOurs(entry jsonedit.Node, change Change) error {
	path, ok := entry.Get(keyPath).Text()
	if ok && filepath.Base(path) == filepath.Base(change.Path) {
		return nil
	}
	if !ok {
		return d.refuse(entry, "there is another runtime named %q here, without a path: rename it or take it out", change.Name)
	}
	return d.refuse(entry.Get(keyPath), "there is another runtime named %q here, with path %q: rename it or take it out", change.Name, path)
}

// entry is the value of the runtime's member.
func (c Change) entry() string {
	text := "{" + jsonedit.Quote(keyPath) + ": " + jsonedit.Quote(c.Path)
	if len(c.Args) > 0 {
		text += ", " + jsonedit.Quote(keyArgs) + ": " + array(c.Args)
	}
	return text + "}"
}

func array(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = jsonedit.Quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// undo returns text without what install put in; text itself when there is
// none of it. backups are what the file was before, the oldest first.
func undo(text []byte, backups [][]byte, change Change) ([]byte, error) {
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	entry := d.root.Get(keyRuntimes, change.Name)
	if entry.Kind() == jsonedit.Missing && !isDefault(d.root, change.Name) {
		return text, nil
	}
	if entry.Kind() != jsonedit.Missing {
		if err := d.checkOurs(entry, change); err != nil {
			return nil, err
		}
	}
	before := newest(backups, func(root jsonedit.Node) bool { return !isDefault(root, change.Name) })
	if err := d.undoDefault(before.root, change.Name); err != nil {
		return nil, err
	}
	before = newest(backups, func(root jsonedit.Node) bool { return root.Get(keyRuntimes, change.Name).Kind() == jsonedit.Missing })
	if err := d.undoRuntime(before.root, change.Name); err != nil {
		return nil, err
	}
	if isEmpty(d.root) && before.blank {
		return before.original, nil
	}
	return d.bytes(), nil
}

func isDefault(root jsonedit.Node, name string) bool {
	current, _ := root.Get(keyDefault).Text()
	return current == name
}

// newest returns the newest backup that is as wanted: what the file was before
// install put something in. Without one, the file was not there.
func newest(backups [][]byte, wanted func(root jsonedit.Node) bool) *document {
	for _, backup := range slices.Backward(backups) {
		// One that does not parse was changed by somebody: an older one may do.
		if d, err := parse(backup); err == nil && wanted(d.root) {
			return d
		}
	}
	return &document{blank: true}
}

// stockRuntime is what every engine has as its default (moby
// daemon/config/config_linux.go).
const stockRuntime = "runc"

// farewell returns text with both keys in it, where they are missing with the
// values that mean the same.
func farewell(text []byte) ([]byte, error) {
	d, err := parse(text)
	if err != nil {
		return nil, err
	}
	missing := []struct{ key, value string }{{keyRuntimes, "{}"}, {keyDefault, jsonedit.Quote(stockRuntime)}}
	for _, member := range missing {
		if d.root.Get(member.key).Kind() != jsonedit.Missing {
			continue
		}
		if err := d.set(d.root, member.key, member.value); err != nil {
			return nil, err
		}
	}
	return d.bytes(), nil
}

func (d *document) undoDefault(before jsonedit.Node, name string) error {
	if !isDefault(d.root, name) {
		return nil
	}
	if old := before.Get(keyDefault); old.Kind() != jsonedit.Missing {
		return d.edit(d.root.Get(keyDefault).Replace(string(old.Raw())), nil)
	}
	return d.edit(d.root.Remove(keyDefault))
}

func (d *document) undoRuntime(before jsonedit.Node, name string) error {
	runtimes := d.root.Get(keyRuntimes)
	if runtimes.Get(name).Kind() == jsonedit.Missing {
		return nil
	}
	if err := d.edit(runtimes.Remove(name)); err != nil {
		return err
	}
	if isEmpty(d.root.Get(keyRuntimes)) && before.Get(keyRuntimes).Kind() == jsonedit.Missing {
		return d.edit(d.root.Remove(keyRuntimes))
	}
	return nil
}

func isEmpty(object jsonedit.Node) bool {
	for range object.Members() {
		return false
	}
	return true
}
