// Package cdi tells the engine of the host's profiles as devices: with
// docker run --device quaymaster.dev/secrets=NAME a container has the profile
// NAME, and nothing of the engine's configuration is touched.
//
// CDI, the Container Device Interface, lets a file on the host say what a
// device adds to a container's OCI configuration (its SPEC.md; Docker looks at
// /etc/cdi and /var/run/cdi, and reads changes before each start). A device of
// ours adds two things. One is an empty directory, bound at the profile's path:
// the OCI runtime makes the place for it, whatever the image has there. The
// other is a createRuntime hook, which asks the agent as the runtime gate does;
// the agent mounts the profile's tree over the empty directory, and only then
// the container starts. The hook fails when it is not answered, and without the file there
// is no such device, so a container never starts without its secrets.
//
// The file holds names and paths, no secret.
package cdi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/quaymaster/quaymaster/inject/runtime/spec"
)

const (
	// Kind is the vendor and class of the devices.
	Kind = "quaymaster.dev/secrets"
	// FileName is the file in Options.Dir.
	FileName = "quaymaster.json"
	// specVersion is the oldest CDI version that has all that is used here; an
	// engine refuses one that it does not know.
	specVersion = "0.6.0"
)

// The decisions that writing can end with.
var (
	// ErrName says that a profile's name cannot be that of a device.
	ErrName = errors.New("a name of a CDI device is letters, digits and _ - . : with a letter or digit first and last: rename the profile")
	// ErrPath says that something cannot be mounted, or executed, there.
	ErrPath = errors.New("not a clean absolute path below /")
)

// Options say what the file holds.
type Options struct {
	Dir      string            // where the engine looks for CDI files; made when it is missing
	Hook     string            // the path of quaymaster-runtime
	Run      string            // the agent's run directory (paths.run)
	Timeout  time.Duration     // how long a start waits for the agent
	Profiles map[string]string // name → path in the container
}

// The file's form, as far as it is used (CDI's specs-go/config.go).
type (
	file struct {
		Version string   `json:"cdiVersion"`
		Kind    string   `json:"kind"`
		Devices []device `json:"devices"`
	}
	device struct {
		Name  string `json:"name"`
		Edits edits  `json:"containerEdits"`
	}
	edits struct {
		Mounts []mount `json:"mounts"`
		Hooks  []hook  `json:"hooks"`
	}
	mount struct {
		HostPath      string   `json:"hostPath"`
		ContainerPath string   `json:"containerPath"`
		Type          string   `json:"type"`
		Options       []string `json:"options"`
	}
	hook struct {
		Name string   `json:"hookName"`
		Path string   `json:"path"`
		Args []string `json:"args"`
	}
)

// Write makes the file say what the options say, in one step; without a
// profile it takes the file away. It may be called again at any time, once the
// agent's memory filesystem is mounted.
func Write(o Options) error {
	name := filepath.Join(o.Dir, FileName)
	if len(o.Profiles) == 0 {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("CDI: remove the devices: %w", err)
		}
		return nil
	}
	content, err := o.content()
	if err != nil {
		return fmt.Errorf("CDI: %w", err)
	}
	if err := os.Mkdir(spec.Placeholder(o.Run), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("CDI: make the empty directory that the devices begin with, on the agent's memory filesystem: %w", err)
	}
	if err := replace(name, content); err != nil {
		return fmt.Errorf("CDI: write the devices: %w", err)
	}
	return nil
}

// deviceName is ValidateDeviceName of CDI's parser.go.
var deviceName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$`)

// CheckName reports why a profile cannot be a device.
func CheckName(profile string) error {
	if !deviceName.MatchString(profile) {
		return fmt.Errorf("profile %q: %w", profile, ErrName)
	}
	return nil
}

func (o Options) content() ([]byte, error) {
	for what, p := range map[string]string{"hook": o.Hook, "run directory": o.Run} {
		if !usable(p) {
			return nil, fmt.Errorf("%s %q: %w", what, p, ErrPath)
		}
	}
	f := file{Version: specVersion, Kind: Kind}
	for _, name := range slices.Sorted(maps.Keys(o.Profiles)) {
		if err := CheckName(name); err != nil {
			return nil, err
		}
		switch p := o.Profiles[name]; {
		case !usable(p):
			return nil, fmt.Errorf("profile %q: path %q: %w", name, p, ErrPath)
		default:
			f.Devices = append(f.Devices, device{name, edits{[]mount{o.placeholder(p)}, []hook{o.hook(name)}}})
		}
	}
	content, err := json.MarshalIndent(f, "", "  ")
	return append(content, '\n'), err
}

func usable(p string) bool { return path.IsAbs(p) && path.Clean(p) == p && p != "/" }

// placeholder keeps the place for a tree. An engine with userns-remap makes an
// ID-mapped mount of it (withIDMapForBindMount of CDI's oci.go), which Linux has
// for a tmpfs since 6.3; an older one refuses the start.
func (o Options) placeholder(at string) mount {
	return mount{spec.Placeholder(o.Run), at, "bind", []string{"bind", "ro", "nosuid", "nodev", "noexec", "rprivate"}}
}

func (o Options) hook(profile string) hook {
	return hook{"createRuntime", o.Hook, []string{filepath.Base(o.Hook), "--quaymaster-run", o.Run,
		"--quaymaster-gate-timeout", o.Timeout.String(), spec.HookCommand, spec.ProfileFlag, profile}}
}

// replace writes a file beside the old one and renames it: the engine reads
// the old text or the new one. What the engine takes for a CDI file ends in
// .json or .yaml, so it passes over the other.
func replace(name string, content []byte) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+FileName+".")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
