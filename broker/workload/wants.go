package workload

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// What a container gets when its labels do not say otherwise.
const (
	DefaultPath = "/run/secrets"
	DefaultMode = fs.FileMode(0o400)
)

// Wants is everything that a container asks for.
type Wants struct {
	Items []Want // files first, each kind sorted by name
	Path  string // directory inside the container
	Mode  fs.FileMode
	Owner *User // nil: the process user
	// OnRotate is what is done after a change of what the container was given.
	OnRotate Strategy
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
