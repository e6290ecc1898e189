package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
)

// errNoAttacher says that nothing can be mounted for a CDI device.
var errNoAttacher = errors.New("this agent serves no CDI devices")

// errVariables says that the Deliverer took no notice of Arrival.FilesOnly.
var errVariables = errors.New("a CDI device cannot give variables: deliver files, or use the runtime gate")

// RootAttacher mounts a tree read-only into the mount namespace of a process
// that has not made the container's root its own yet. root is the directory in
// that namespace which will be the container's root; target is a path below
// it, and what holds for an inject.Attacher's holds for it: the container's
// owner may have prepared it. What is mounted already at target, the device's
// placeholder, is covered. (What else is mounted at that moment, and where, is
// said at spec.HookFacts.)
type RootAttacher interface {
	AttachAt(ctx context.Context, pid int, root, source, target string) error
}

// asHook is the arrival of a container whose device's hook asks.
func asHook(a inject.Arrival, r wire.Request) inject.Arrival {
	a.Gate, a.Profile, a.PID, a.FilesOnly = inject.GateCDI, r.Profile, int(r.PID), true
	a.Tree = hookTree(r.ID, r.Profile)
	return a
}

// hookTree names the tree of one profile in one container. A container may
// have devices of several profiles, each with a tree of its own.
func hookTree(container, profile string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{container, inject.GateCDI, profile}, "\x00")))
	return hex.EncodeToString(sum[:])
}

// deliverToHook returns nil when the container may start: with the tree
// mounted, or with nothing to mount.
func (g *Gate) deliverToHook(ctx context.Context, arrival inject.Arrival, root string) error {
	if g.Attacher == nil {
		return errNoAttacher
	}
	delivery, err := g.Deliverer.Deliver(ctx, arrival)
	if err != nil {
		return err
	}
	switch {
	case len(delivery.Variables) > 0:
		err = errVariables
	case delivery.Source != "":
		err = g.Attacher.AttachAt(ctx, arrival.PID, root, delivery.Source, delivery.Target)
	}
	if err == nil {
		return nil
	}
	if g.Ender != nil {
		g.Ender.End(context.WithoutCancel(ctx), arrival.Tree)
	}
	return fmt.Errorf("container %s did not start: mount the profile %q at %s: %w", arrival.Container, arrival.Profile, delivery.Target, err)
}
