package render

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// maxWork bounds what one render of a template may do, in bytes of template
// carried out plus bytes made by functions. It is some tenths of a second.
const maxWork = 16 * secret.MaxValueSize

// execute runs a template over the fields of a want. The template's data are
// Go strings, which live until they are collected.
func (r *Renderer) execute(name string, f fields, lookup func(secret.Ref) (secret.Value, error)) ([]byte, error) {
	p, err := r.program(name)
	if err != nil {
		return nil, err
	}
	return p.execute(name, f, lookup)
}

func (p program) execute(name string, f fields, lookup func(secret.Ref) (secret.Value, error)) ([]byte, error) {
	dot := make(map[string]string, len(f))
	for field, value := range f {
		dot[field] = string(value)
	}
	bound, err := p.template.Clone()
	if err != nil {
		return nil, fmt.Errorf("template: %s: it cannot be run", name)
	}
	running := &run{left: maxWork, lookup: lookup}
	bound.Funcs(running.functions()).Funcs(template.FuncMap{functionStep: running.step})
	var out output
	if err := protect(bound, &out, dot); err != nil {
		out.err = describe(name, err, f)
	}
	return out.done()
}

// protect keeps a panic, whose text may hold a value, from going further.
func protect(t *template.Template, out *output, dot map[string]string) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("")
		}
	}()
	return t.Execute(out, dot)
}

// failure is an error of one of our own functions: its text holds no value.
type failure struct {
	error
	where string // else it is where the function was called
}

func fail(format string, args ...any) error { return failure{error: fmt.Errorf(format, args...)} }

func (f failure) Unwrap() error { return f.error }

var (
	// place is how an error of text/template begins: with the name of the
	// file, line and column.
	place = regexp.MustCompile(`^template: ([^:\s]+:\d+:\d+): `)
	// noEntry is how it ends when a field is named that is not there. The name
	// is the template's, not the secret's.
	noEntry = regexp.MustCompile(`: map has no entry for key ("[^"]*")$`)
)

// describe says what went wrong and where. Of the library's own text it takes
// only what comes from the template, because the rest may quote values.
func describe(name string, err error, f fields) error {
	where, failed := name, failure{}
	if found := place.FindStringSubmatch(err.Error()); found != nil {
		where = found[1]
	}
	if errors.As(err, &failed) && failed.where != "" {
		where = failed.where
	}
	switch missed := noEntry.FindStringSubmatch(err.Error()); {
	case failed.error != nil:
		return fmt.Errorf("template: %s: %w", where, failed.error)
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("template: %s: %w", where, errTooLarge)
	case missed != nil:
		return missing(fmt.Errorf("template: %s: there is no field %s; the fields are: %s", where, missed[1], strings.Join(f.names(), ", ")))
	}
	return fmt.Errorf("template: %s: this cannot be done with such a value (a field is a piece of text)", where)
}
