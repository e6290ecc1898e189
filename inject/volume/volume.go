// Package volume is the volume gate: a Docker volume driver whose volumes are
// trees.
//
// A volume of this driver is a promise and holds nothing: a name, and perhaps
// the host's profile that says what is in it. When a container that mounts it
// starts, the engine asks the driver to mount the volume and waits. The Gate
// then finds out which container that is, has its secrets delivered to a tree
// of this one mount, and answers with the tree's path. So two containers with
// one volume see two different trees, and the volume needs nothing in the
// engine's configuration.
//
// The engine does not say for which container it asks. Docker's list of
// containers that have the volume and do not run says who it may be; where they
// are several, the Deliverer has to let all of them have what goes in.
//
// The engine names each mount with a random ID. It mounts under the same ID
// again while the container runs, to copy files from or to it, and unmounts as
// often. So each mount is counted, in a note that outlives the agent: a tree
// ends with the last unmount and is never made anew under a running container.
package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/plugin"
)

// Subsystem is what Docker calls volume drivers.
const Subsystem = "VolumeDriver"

// engineTimeout is how long every engine since 17.12 waits for a mount
// (longTimeout in moby's volume/drivers/proxy.go).
const engineTimeout = 2 * time.Minute

// Finder tells which container waits for its volume.
type Finder interface {
	// Mounting returns the containers that may be the one that starts: those
	// that mount the driver's volume and do not run. Of each it knows
	// Container, EngineDir, User, UIDMap and GIDMap. It never waits for a
	// container that is starting.
	Mounting(ctx context.Context, driver, volume string) ([]inject.Arrival, error)
}

// Options are the parts of a Gate. All but View are required.
type Options struct {
	Driver    string // the driver's name, which is that of the plugin
	View      string // shows the directory of the trees read-only; empty: trees are read-only as they are
	Deliverer inject.Deliverer
	Ender     inject.Ender
	Finder    Finder
	State     string                 // a directory of the gate's own, which outlives a reboot
	Profiles  func(name string) bool // is there such a profile?
	Timeout   time.Duration          // how long a container may wait
	Log       *slog.Logger
}

// Gate answers the engine's calls to the volume driver.
type Gate struct {
	Options
	state *state
	notes sync.Mutex // held while a note of a mount is read and written, never while others are asked
}

// New makes a Gate, and its directory of state where that is missing.
func New(options Options) (*Gate, error) {
	state, err := openState(options.State)
	if err != nil {
		return nil, fmt.Errorf("volume gate: %w", err)
	}
	if err := state.forgetGone(); err != nil {
		return nil, errors.Join(fmt.Errorf("volume gate: read its state: %w", err), state.close())
	}
	return &Gate{Options: options, state: state}, nil
}

// Close ends the use of the state.
func (g *Gate) Close() error { return g.state.close() }

// Subsystem is what the plugin serves for the gate.
func (g *Gate) Subsystem() plugin.Subsystem {
	return plugin.Subsystem{Name: Subsystem, Calls: map[string]plugin.Call{
		"VolumeDriver.Create":       named(g.create),
		"VolumeDriver.Remove":       named(g.remove),
		"VolumeDriver.Mount":        named(g.mount),
		"VolumeDriver.Unmount":      named(g.unmount),
		"VolumeDriver.Path":         named(g.path),
		"VolumeDriver.Get":          g.lookUp(),
		"VolumeDriver.List":         always(g.list),
		"VolumeDriver.Capabilities": always(capabilities),
	}}
}

// request is every request of the engine: of each call the fields that it has.
type request struct {
	Name, ID string
	Opts     map[string]string
}

// answer is every answer, and entry a volume in it, as the engine's
// volume/drivers/proxy.go reads them.
type (
	answer struct {
		Mountpoint   string      `json:",omitempty"`
		Volume       *entry      `json:",omitempty"`
		Volumes      []entry     `json:",omitempty"`
		Capabilities *capability `json:",omitempty"`
	}
	entry struct {
		Name      string
		CreatedAt string            `json:",omitempty"` // RFC 3339
		Status    map[string]string `json:",omitempty"` // shown by docker volume inspect
	}
	capability struct{ Scope string }
)

// named makes a call of f whose errors name the agent and the volume: they are
// all that the user of docker sees.
func named(f func(context.Context, request) (answer, error)) plugin.Call {
	call := plugin.Method(func(ctx context.Context, r request) (answer, error) {
		a, err := f(ctx, r)
		if err != nil {
			err = fmt.Errorf("volume %q: %w", r.Name, err)
		}
		return a, err
	})
	return func(ctx context.Context, body []byte) ([]byte, error) {
		a, err := call(ctx, body)
		if err != nil {
			err = fmt.Errorf("quaymaster: %w", err)
		}
		return a, err
	}
}

// always makes a call of f, which needs no request.
func always(f func() (answer, error)) plugin.Call {
	call := plugin.Method(func(context.Context, request) (answer, error) { return f() })
	return func(ctx context.Context, _ []byte) ([]byte, error) { return call(ctx, []byte("{}")) }
}

// capabilities says that a volume belongs to this host's engine.
func capabilities() (answer, error) {
	return answer{Capabilities: &capability{Scope: "local"}}, nil
}

// oneLine is text for the engine to show.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
