// Package inject holds the nouns of getting secrets into containers.
//
// A container on its way up meets a gate: a moment at which Docker waits for
// the agent. The gate describes what it knows of the container as an Arrival
// and asks the Deliverer, which attests, decides, fetches and writes; its
// Delivery says what the gate has to add to the container, or nothing.
//
// All of a container's files form one Bundle, written to a tree: a directory
// of the container's own on the agent's memory filesystem. Containers see
// their tree through a read-only bind mount, so the agent never writes to a
// path that a container made.
package inject

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// File is one file of a bundle.
type File struct {
	Name  string // one path element, or two: a file in a directory of its own
	Mode  fs.FileMode
	Value secret.Value
}

// Variable is one environment variable of a bundle.
type Variable struct {
	Name  string
	Value secret.Value
}

// Bundle is everything that one container gets.
type Bundle struct {
	Files     []File
	Variables []Variable
}

// Owner is a user and group as the host's kernel numbers them.
type Owner struct{ UID, GID uint32 }

// IDMap is one line of a user-namespace mapping: Size IDs that begin at
// Container inside are the IDs that begin at Host outside.
type IDMap struct{ Container, Host, Size uint32 }

// The gates, as an Arrival and the audit log name them.
const (
	GateRuntime = "runtime"
	GateVolume  = "volume"
	GateCDI     = "cdi"
	GateSwarm   = "swarm"
	GateLate    = "late" // no gate: the container runs already
)

// Arrival is what a gate knows of a container that waits to start.
type Arrival struct {
	Gate      string
	Container string // the engine's full ID
	// Others are the containers that it may be as well, where Docker does not
	// say which of several starts: what goes in must be the same for all.
	Others []string
	// Tree names the tree that its files go to; empty: Container does.
	Tree string
	// Profile is the host's profile that says what is wanted; empty: the
	// container's labels do.
	Profile string
	// User is the process user as the container numbers it; nil: the gate does
	// not know it.
	User *Owner
	// UIDMap and GIDMap are empty when the container shares the host's user namespace.
	UIDMap, GIDMap []IDMap
	// Mounts are the paths inside the container at which it already mounts
	// something.
	Mounts []string
	// EngineDir is the engine's own directory for this container, where it
	// is known: the last resort when the engine's API does not answer.
	EngineDir string
	// MemoryOnly says that what the gate writes for the engine's runtime
	// stays in memory, which delivering variables requires.
	MemoryOnly bool
	// FilesOnly says that the gate cannot deliver variables at all.
	FilesOnly bool
	// PID is the container's first process where that exists already, as the
	// agent's PID namespace numbers it; else zero.
	PID int
}

// Delivery is what a gate adds to a container. The zero Delivery means: let it
// pass as it is.
type Delivery struct {
	Source    string // the tree, on the host; empty when there are no files
	Target    string // where the container sees it
	Variables []Variable
	// ExecVariables says that processes which are started in the container
	// later get the variables too.
	ExecVariables bool
}

// Deliverer answers the gates. An error is shown to whoever started the
// container, so it names the container, the ref and what to do.
type Deliverer interface {
	Deliver(ctx context.Context, arrival Arrival) (Delivery, error)
}

// Ender is told by a gate that learns it that what it delivered is in use no
// more: the container's run is over, or never began. It may be told again, and
// of trees that are not there.
type Ender interface {
	End(ctx context.Context, tree string)
}

// Attacher mounts a tree read-only into a process's mount namespace, and takes
// it out again. target is a path inside the container, whose owner may have
// prepared it: no link is followed and nothing but a missing directory is made.
type Attacher interface {
	// Attach leaves nothing mounted when it fails.
	Attach(ctx context.Context, pid int, source, target string) error
	// Detach unmounts source, which must still be there. A process that has
	// ended, or anything else at target, is no error.
	Detach(ctx context.Context, pid int, source, target string) error
}

// Looker tells whether a process sees a tree: whether target, a path inside its
// container, leads it to the directory source. Where that leads through a link
// of /proc, nobody can say what it means to another process, and it is not seen.
type Looker interface {
	Sees(ctx context.Context, pid int, source, target string) (bool, error)
}

// Task is what the Swarm gate knows of a task that wants one secret.
type Task struct {
	ID, Name, Image    string
	ServiceID, Service string
	ServiceLabels      map[string]string
	NodeID, Node       string            // Node is the node's host name; empty: not known
	Secret             string            // its name in the swarm, and of the file
	SecretLabels       map[string]string // say what it is
}

// LabelServiceError is the label of a swarm's service that says why its tasks do
// not get their secrets: the swarm itself says that to nobody.
const LabelServiceError = "quaymaster.error"

// ErrGone says that a service is no more: there is nothing to do for it.
var ErrGone = errors.New("there is no such service any more")

// TaskDeliverer answers the Swarm gate. The value is the caller's to wipe.
type TaskDeliverer interface {
	DeliverTask(ctx context.Context, task Task) (secret.Value, error)
}

// NoAgent is what every gate's message has in it that gave up because no agent
// answered.
const NoAgent = wire.NoAgent

// NotLearnt is what every gate's message has in it that refused a container
// because nobody said what it is: the engine answers no more, or not yet.
const NotLearnt = "could not be learnt"

// Failure is a container whose last start failed.
type Failure struct {
	Container, Name string
	Reason          string // in the engine's words, which repeat those of a gate
	Restarts        bool   // it has a restart policy
}

// Trees keeps the trees of all containers on a memory filesystem. It may be
// used by several goroutines.
type Trees interface {
	// Create makes a new tree for the container with files as its first
	// generation, replacing the tree of an earlier run, and returns its path.
	Create(container string, owner Owner, files []File) (path string, err error)
	// Swap replaces all files of the container's tree at once: a reader sees
	// the old set or the new one. The old generation stays readable, to those
	// who opened it, until Prune. When the tree holds exactly these files
	// already, nothing is touched and changed is false.
	Swap(container string, files []File) (changed bool, err error)
	// Holds reports whether the container's tree holds exactly these files, so
	// that Swap would touch nothing.
	Holds(container string, files []File) (bool, error)
	// Prune removes all generations but the current one.
	Prune(container string) error
	// Remove wipes and removes the tree. Removing what is not there is no error.
	Remove(container string) error
	// List returns the containers that have a tree.
	List() ([]string, error)
}

// EventKind says what happened to a container, or to the watch itself.
type EventKind string

// The kinds of event that matter here.
const (
	// Connected: the watch begins, or begins again after a gap in which
	// events may have been missed. It names no container.
	Connected EventKind = "connected"
	Started   EventKind = "started"
	Died      EventKind = "died"
	Removed   EventKind = "removed"
)

// Event is one thing that the engine reported, in the order it happened.
type Event struct {
	Kind      EventKind
	Container string    // the engine's full ID
	At        time.Time // when it happened, as the engine says; zero for Connected
}
