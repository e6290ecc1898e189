package workload

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Prefix begins every label that is meant for the agent.
const Prefix = "quaymaster."

// The label keys, and the prefixes of the keys that end in a name.
const (
	labelSecret   = Prefix + "secret."
	labelEnv      = Prefix + "env."
	labelOptional = Prefix + "optional."
	labelPath     = Prefix + "path"
	labelMode     = Prefix + "mode"
	labelOwner    = Prefix + "owner"
)

// What a container gets when its labels do not say otherwise.
const (
	DefaultPath = "/run/secrets"
	DefaultMode = fs.FileMode(0o400)
)

// maxWants bounds what one container may ask for. It only stops nonsense: a
// bundle of a few hundred secrets is fine.
const maxWants = 1000

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

// Wants is everything that a container asks for.
type Wants struct {
	Items []Want // files first, each kind sorted by name
	Path  string // directory inside the container
	Mode  fs.FileMode
	Owner *User // nil: the process user
	// OnRotate is what is done after a change of what the container was given.
	OnRotate Strategy
}

// Labelled reports whether any label is meant for the agent.
func Labelled(labels map[string]string) bool {
	for key := range labels {
		if strings.HasPrefix(key, Prefix) {
			return true
		}
	}
	return false
}

// ParseLabels reads the labels that are meant for the agent. The error lists
// every label that is wrong, and why.
func ParseLabels(labels map[string]string) (Wants, error) {
	wants := Wants{Path: DefaultPath, Mode: DefaultMode, OnRotate: Strategy{Kind: StrategyNone}}
	optional := map[string]bool{}
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if !strings.HasPrefix(key, Prefix) {
			continue
		}
		if err := wants.parseLabel(key, labels[key], optional); err != nil {
			problems = append(problems, fmt.Errorf("label %s: %w", key, err))
		}
	}
	for i, item := range wants.Items {
		wants.Items[i].Optional = optional[item.Name]
	}
	for _, name := range slices.Sorted(maps.Keys(optional)) {
		if !slices.ContainsFunc(wants.Items, func(w Want) bool { return w.Name == name }) {
			problems = append(problems, fmt.Errorf("label %s%s: no label %s%s or %s%s asks for it",
				labelOptional, name, labelSecret, name, labelEnv, name))
		}
	}
	if len(wants.Items) > maxWants {
		problems = append(problems, fmt.Errorf("%d secrets on one container: the limit is %d", len(wants.Items), maxWants))
	}
	slices.SortStableFunc(wants.Items, func(a, b Want) int {
		return cmp.Or(strings.Compare(string(b.Kind), string(a.Kind)), strings.Compare(a.Name, b.Name))
	})
	return wants, errors.Join(problems...)
}

func (w *Wants) parseLabel(key, value string, optional map[string]bool) error {
	if name, found := strings.CutPrefix(key, labelSecret); found {
		return w.add(File, name, value, checkFileName)
	}
	if name, found := strings.CutPrefix(key, labelEnv); found {
		return w.add(Variable, name, value, checkVariableName)
	}
	if name, found := strings.CutPrefix(key, labelOptional); found {
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		optional[name] = yes
		return nil
	}
	switch key {
	case labelPath:
		return w.parsePath(value)
	case labelMode:
		return w.parseMode(value)
	case labelOwner:
		return w.parseOwner(value)
	}
	return fmt.Errorf("unknown key; the keys are %s<name>, %s<NAME>, %s<name>, %s, %s and %s",
		labelSecret, labelEnv, labelOptional, labelPath, labelMode, labelOwner)
}

func (w *Wants) add(kind Kind, name, text string, check func(string) error) error {
	if err := check(name); err != nil {
		return err
	}
	ref, err := secret.ParseRef(strings.TrimSpace(text))
	if err != nil {
		return err
	}
	w.Items = append(w.Items, Want{Kind: kind, Name: name, Ref: ref})
	return nil
}

// checkFileName allows what can be one visible element of a path. Names that
// begin with two dots are the tree's own.
func checkFileName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is missing after the last dot")
	case strings.Contains(name, "/"):
		return fmt.Errorf("the name %q contains a slash: a secret is one file directly in the directory", name)
	case name == ".", strings.HasPrefix(name, ".."):
		return fmt.Errorf("the name %q may not be a dot or begin with two", name)
	case len(name) > 255:
		return fmt.Errorf("the name is %d bytes long: the limit is 255", len(name))
	case strings.ContainsFunc(name, isControl):
		return fmt.Errorf("the name %q contains a control character", name)
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

func (w *Wants) parsePath(value string) error {
	if !path.IsAbs(value) || path.Clean(value) != value || strings.ContainsFunc(value, isControl) {
		return fmt.Errorf("%q is not an absolute path without dots and double slashes", value)
	}
	top, _, _ := strings.Cut(value[1:], "/")
	if slices.Contains([]string{"", "proc", "sys", "dev"}, top) {
		return fmt.Errorf("%q cannot be used: choose a directory outside /proc, /sys and /dev", value)
	}
	w.Path = value
	return nil
}

func (w *Wants) parseMode(value string) error {
	mode, err := strconv.ParseUint(value, 8, 32)
	if err != nil || mode > 0o777 {
		return fmt.Errorf("%q is not an octal file mode such as 0400 or 0440", value)
	}
	if mode&0o222 != 0 {
		return fmt.Errorf("%q lets somebody write: containers see their secrets read-only", value)
	}
	w.Mode = fs.FileMode(mode)
	return nil
}

func (w *Wants) parseOwner(value string) error {
	uidText, gidText, both := strings.Cut(value, ":")
	if !both {
		gidText = uidText
	}
	uid, errUID := strconv.ParseUint(uidText, 10, 32)
	gid, errGID := strconv.ParseUint(gidText, 10, 32)
	if errUID != nil || errGID != nil {
		return fmt.Errorf("%q is not uid or uid:gid in numbers", value)
	}
	w.Owner = &User{UID: uint32(uid), GID: uint32(gid)}
	return nil
}
