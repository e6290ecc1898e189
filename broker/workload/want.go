package workload

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Kind is the form in which a container wants a secret.
type Kind string

// The forms.
const (
	File     Kind = "file"
	Variable Kind = "env"
)

// Want is one secret that a container asks for.
type Want struct {
	Kind     Kind
	Name     string // of the file or the variable
	Ref      secret.Ref
	Optional bool // the container starts without it when it does not exist
	Format   Format
	// Password is what opens a keystore; nil: the password that Java's own
	// tools assume, for what lies in memory needs none.
	Password *secret.Ref
	// Refresh is how often the secret is read again; zero: as the host says.
	Refresh time.Duration
}

func (r *reader) file(name, text string) error {
	return r.want(File, name, text, checkFileName)
}

func (r *reader) variable(name, text string) error {
	return r.want(Variable, name, text, checkVariableName)
}

func (r *reader) want(kind Kind, name, text string, check func(string) error) error {
	if err := check(name); err != nil {
		return err
	}
	ref, err := r.ref(text)
	// A want with a bad ref is kept: what other labels say of it is not the
	// next mistake. The whole is refused anyway.
	r.wants.Items = append(r.wants.Items, Want{Kind: kind, Name: name, Ref: ref})
	return err
}

// ref reads a ref that may name selectors.
func (r *reader) ref(text string) (secret.Ref, error) {
	expanded, err := r.expand(strings.TrimSpace(text))
	if err != nil {
		return secret.Ref{}, err
	}
	return secret.ParseRef(expanded)
}

// checkFileName allows what can be one visible element of a path. Names that
// begin with two dots are the tree's own.
func checkFileName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is missing after the last dot")
	case strings.Contains(name, "/"):
		return fmt.Errorf("the name %q contains a slash: a secret stands directly in the directory", name)
	case name == ".", strings.HasPrefix(name, ".."):
		return fmt.Errorf("the name %q may not be a dot or begin with two", name)
	case len(name) > 255:
		return fmt.Errorf("the name is %d bytes long: the limit is 255", len(name))
	case strings.ContainsFunc(name, isControl), !utf8.ValidString(name):
		return fmt.Errorf("the name %q contains a control character, or is not UTF-8", name)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func checkVariableName(name string) error {
	if name == "" {
		return errors.New("a name is missing after the last dot")
	}
	for i, c := range []byte(name) {
		letter := c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
		if !letter && (i == 0 || (c != '.' && c != '-' && (c < '0' || c > '9'))) {
			return fmt.Errorf("%q is not a name for an environment variable: use letters, digits and underscores", name)
		}
	}
	return nil
}
