package spec

import (
	"errors"
	"path"
	"slices"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// What a CDI device of this host puts into a configuration: a bind of the
// Placeholder at the path of the profile, and a createRuntime hook with these
// arguments behind the program's own flags.
const (
	HookCommand = "cdi-hook"
	ProfileFlag = "--profile"
)

// Placeholder is an empty directory on the memory filesystem of the agent whose
// run directory that is.
func Placeholder(run string) string { return run + "/memory/placeholder" }

// ErrTaken says that something else of the container's is mounted at the path
// of one of its profiles.
var ErrTaken = errors.New("the path of one of its profiles is taken, by another profile or by a volume: " +
	"leave one of them out, or give it another path")

// HookFacts reads what the agent must know when the createRuntime hook of a
// CDI device asks. bundle is the directory that the configuration lies in.
//
// At that moment, by the OCI specification (runtime.md, Lifecycle) and as runc
// does it (prepareRootfs of its rootfs_linux.go, 1.1 and 1.5), the container's
// first process has its mount namespace; everything in mounts, so every
// placeholder, is mounted there, but the process has not made the container's
// root its own yet: /proc/PID/root is the host's root, and the container's is
// bound over itself at root.path, below which all its mounts lie. runc refuses
// a root.path that a link leads through; a relative one begins at the bundle.
// With a user namespace it is the same, and the mount namespace belongs to the
// user namespace. What is mounted below root.path now, the container keeps.
//
// Binds of placeholder are no mounts of the container's own, so the request
// leaves them out.
func HookFacts(config []byte, id, bundle, placeholder string) (wire.Request, error) {
	r, err := Facts(config, id)
	if err != nil {
		return r, err
	}
	root, err := parse(config)
	if err != nil {
		return r, err
	}
	var ok bool
	if r.Root, ok = root.Get("root", "path").Text(); !ok {
		return r, shapeError("root.path", root.Get("root", "path"), "a string")
	}
	if !path.IsAbs(r.Root) {
		r.Root = path.Join(bundle, r.Root)
	}
	sources, err := readMounts(root.Get("mounts"), &wire.Request{ID: id})
	if err != nil {
		return r, err
	}
	kept := 0 // places
	r.Mounts = slices.DeleteFunc(r.Mounts, func(destination string) bool {
		if sources[destination] != placeholder {
			return false
		}
		kept++
		return true
	})
	// Of two mounts at one path CDI keeps the later one (its container-edits.go),
	// and Docker the user's (its oci_linux.go, WithMounts).
	if len(hookProfiles(root)) > kept {
		return r, ErrTaken
	}
	return r, nil
}

// hookProfiles are the profiles for which the configuration has a hook.
func hookProfiles(root jsonedit.Node) map[string]bool {
	profiles := map[string]bool{}
	for hook := range root.Get("hooks", "createRuntime").Elements() {
		var args []string
		for arg := range hook.Get("args").Elements() {
			text, _ := arg.Text()
			args = append(args, text)
		}
		if i := slices.Index(args, HookCommand); i > 0 && i+2 < len(args) && args[i+1] == ProfileFlag {
			profiles[args[i+2]] = true
		}
	}
	return profiles
}
