// Package render turns secrets into what containers read.
//
// A secret is a set of named fields; a want says in which Format a container
// reads them: one field byte for byte, all of them as JSON or as lines of a
// dotenv file, a certificate as the files that servers and Java expect, or
// whatever a template on the host makes of them. A Renderer does that and
// nothing else: it decides nothing, fetches nothing, and writes nothing.
//
// The same input always makes the same bytes, keystores included, so that an
// agent that was restarted does not take its own output for a rotation.
//
// What is returned belongs to the caller, who may wipe it: it shares no buffer
// with the secret. What is needed on the way is wiped here, as far as Go lets
// a program: strings in a template, and what the standard library keeps while
// it parses a key, live until they are collected.
package render

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// ErrField says that the secret does not hold what the want names or its
// format needs: to the container it is as if the secret did not exist.
var ErrField = errors.New("a field is missing")

// Options of a Renderer.
type Options struct {
	// Templates is the directory of the host's templates: each is a file
	// <name>.tmpl. Empty, or a directory that does not exist: there are none.
	Templates string
}

// Renderer may be used by several goroutines.
type Renderer struct {
	dir string

	mu       sync.Mutex
	programs map[string]program // by template name, as last read
}

// New returns a renderer. It fails when somebody other than root and the
// agent's own user could change the templates.
func New(o Options) (*Renderer, error) {
	r := &Renderer{dir: o.Templates, programs: map[string]program{}}
	root, err := r.open()
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, root.Close()
}

// Refs are the further refs that a want's format needs: those in its template,
// sorted.
func (r *Renderer) Refs(f workload.Format) ([]secret.Ref, error) {
	if f.Kind != workload.FormatTemplate {
		return nil, nil
	}
	p, err := r.program(f.Template)
	return p.refs, err
}

// Input is what a want is rendered from.
type Input struct {
	Secret secret.Secret
	// Password opens the keystore of a want that names a ref for it; without
	// such a ref it is "changeit", as Java's own tools assume.
	Password secret.Value
	// Lookup returns the value of one of the further refs. It must refuse every
	// ref that was not decided on: an operator may have edited the template
	// since Refs was asked.
	Lookup func(secret.Ref) (secret.Value, error)
}

// Files renders a want for a file: one file of the want's name, or several in a
// directory of that name. An error never carries a value.
func (r *Renderer) Files(w workload.Want, mode fs.FileMode, in Input) ([]inject.File, error) {
	contents, err := r.render(w, in)
	if err != nil {
		return nil, err
	}
	files := make([]inject.File, 0, len(contents))
	for _, c := range contents {
		name := w.Name
		if c.name != "" {
			name += "/" + c.name
		}
		files = append(files, inject.File{Name: name, Mode: mode, Value: secret.NewValue(c.bytes)})
	}
	return files, nil
}

// Variable renders a want for an environment variable, which has one content.
func (r *Renderer) Variable(w workload.Want, in Input) (secret.Value, error) {
	if w.Format.Kind == workload.FormatAuto {
		w.Format.Kind = workload.FormatRaw
	}
	contents, err := r.render(w, in)
	if err != nil {
		return secret.Value{}, err
	}
	if len(contents) != 1 || contents[0].name != "" {
		wipe(contents)
		return secret.Value{}, fmt.Errorf("%s makes several files, and a variable has one content: ask for a file", w.Format.Kind)
	}
	return secret.NewValue(contents[0].bytes), nil
}

// content is one file of a want; its name is empty when it is the only one.
type content struct {
	name  string
	bytes []byte
}

func wipe(contents []content) {
	for _, c := range contents {
		clear(c.bytes)
	}
}

// render makes the contents of a want, none larger than may be delivered.
func (r *Renderer) render(w workload.Want, in Input) ([]content, error) {
	f, err := gather(w, in.Secret)
	if err != nil {
		return nil, err
	}
	defer f.wipe()
	contents, err := r.contents(w, f, in)
	if err != nil {
		wipe(contents)
		return nil, err
	}
	for i := range contents {
		if contents[i].bytes, err = finish(contents[i].bytes, w.Format.Newline); err != nil {
			wipe(contents)
			return nil, err
		}
	}
	return contents, nil
}

func (r *Renderer) contents(w workload.Want, f fields, in Input) ([]content, error) {
	switch w.Format.Kind {
	case workload.FormatAuto:
		if w.Ref.Field == "" && f.certificate() {
			return pemFiles(f)
		}
		return one(raw(w, f))
	case workload.FormatRaw:
		return one(raw(w, f))
	case workload.FormatJSON:
		return one(jsonObject(f))
	case workload.FormatDotenv:
		return one(dotenv(f))
	case workload.FormatPEM:
		return pemFiles(f)
	case workload.FormatPKCS12, workload.FormatJKS:
		return keystores(w, f, in.Password)
	case workload.FormatTemplate:
		return one(r.execute(w.Format.Template, f, in.Lookup))
	}
	return nil, fmt.Errorf("format %q is not known", w.Format.Kind)
}

func one(bytes []byte, err error) ([]content, error) { return []content{{bytes: bytes}}, err }
