package workload

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Prefix begins every label that is meant for the agent.
const Prefix = "quaymaster."

// The label keys, and the prefixes of the keys that end in a name.
const (
	labelSecret   = Prefix + "secret."
	labelEnv      = Prefix + "env."
	labelOptional = Prefix + "optional."
	labelFormat   = Prefix + "format."
	labelPassword = Prefix + "password."
	labelRefresh  = Prefix + "refresh."
	labelPath     = Prefix + "path"
	labelMode     = Prefix + "mode"
	labelOwner    = Prefix + "owner"
	labelOnRotate = Prefix + "on-rotate"
)

// maxWants bounds what one container may ask for. It only stops nonsense: a
// bundle of a few hundred secrets is fine.
const maxWants = 1000

// Labelled reports whether any label is meant for the agent.
func Labelled(labels map[string]string) bool {
	for key := range labels {
		if strings.HasPrefix(key, Prefix) {
			return true
		}
	}
	return false
}

// ParseLabels reads the labels that are meant for the agent; selectors are
// what has been attested of the container, which refs may name (see expand).
// The error lists every label that is wrong, and why.
func ParseLabels(labels map[string]string, selectors Selectors) (Wants, error) {
	r := parse(labels, selectors.expand)
	return r.wants, r.problem(origin{})
}

// parse reads the labels; expand puts attested facts into the text of a ref.
func parse(labels map[string]string, expand func(text string) (string, error)) *reader {
	r := &reader{
		wants:   Wants{Path: DefaultPath, Mode: DefaultMode, OnRotate: Strategy{Kind: StrategyNone}},
		expand:  expand,
		details: map[string]*detail{},
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if strings.HasPrefix(key, Prefix) {
			r.note(key, r.label(key, labels[key]))
		}
	}
	r.apply()
	if n := len(r.wants.Items); n > maxWants {
		r.note("", fmt.Errorf("%d secrets on one container: the limit is %d", n, maxWants))
	}
	slices.SortStableFunc(r.wants.Items, func(a, b Want) int {
		return cmp.Or(strings.Compare(string(b.Kind), string(a.Kind)), strings.Compare(a.Name, b.Name))
	})
	return r
}

// reader is the state of reading one container's labels.
type reader struct {
	wants    Wants
	expand   func(text string) (string, error)
	details  map[string]*detail // by the name of the secret that they are about
	problems []problem
}

// problem is what is wrong with a label, or, where that is empty, with the
// whole.
type problem struct {
	label string
	err   error
}

// note keeps what is wrong with a label, if anything is.
func (r *reader) note(key string, err error) {
	if err != nil {
		r.problems = append(r.problems, problem{key, err})
	}
}

// problem returns all that is wrong, by the names that from gives the labels.
func (r *reader) problem(from origin) error {
	var problems []error
	for _, p := range r.problems {
		err := p.err
		if p.label != "" {
			err = fmt.Errorf("%s: %w", from.name(p.label), err)
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// label reads one label. Keys that end in a name come first.
func (r *reader) label(key, value string) error {
	for prefix, read := range map[string]func(name, value string) error{
		labelSecret:   r.file,
		labelEnv:      r.variable,
		labelOptional: r.optional,
		labelFormat:   r.format,
		labelPassword: r.password,
		labelRefresh:  r.refresh,
	} {
		if name, found := strings.CutPrefix(key, prefix); found {
			return read(name, value)
		}
	}
	switch key {
	case LabelProfile:
		return nil // Profiles reads it
	case labelPath:
		return r.wants.parsePath(value)
	case labelMode:
		return r.wants.parseMode(value)
	case labelOwner:
		return r.wants.parseOwner(value)
	case labelOnRotate:
		var err error
		r.wants.OnRotate, err = parseStrategy(value)
		return err
	}
	return fmt.Errorf("unknown key; the keys are %s<name>, %s<NAME>, %s<name>, %s<name>, %s<name>, %s<name>, %s, %s, %s, %s and %s",
		labelSecret, labelEnv, labelFormat, labelPassword, labelOptional, labelRefresh, labelPath, labelMode, labelOwner, labelOnRotate, LabelProfile)
}
