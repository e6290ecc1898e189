package config

import (
	"errors"
	"fmt"
	"strings"
)

// Place is a position in a configuration file. Line and Column count from 1;
// a Line of 0 means the file as a whole.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that is wrong, or, as a warning, one that is probably
// not meant. Its message is complete without the key.
type Problem struct {
	Place
	Key     string `json:"key,omitempty"` // as in vault.address or grants[0].name
	Message string `json:"message"`
}

// Error implements error.
func (p Problem) Error() string { return p.Place.String() + ": " + p.Message }

// String says the same as Error; without it, that of Place would be used.
func (p Problem) String() string { return p.Error() }

// Problems is everything that is wrong, in the order of the files. It is the
// error of Load.
type Problems []Problem

// Error has one line or paragraph per problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// ErrEmpty says that no file says anything, as on a host that is still to be configured.
var ErrEmpty = errors.New("the configuration is empty")

const emptyMessage = "is empty; " + smallest

// Is makes an empty configuration known as ErrEmpty.
func (p Problems) Is(target error) bool {
	return target == ErrEmpty && len(p) == 1 && p[0].Message == emptyMessage
}
