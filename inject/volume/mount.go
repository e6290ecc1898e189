package volume

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/inject"
)

// The reasons not to mount that are the gate's own.
var (
	errNobody = errors.New("no container that mounts it is about to start; where Docker asks because the image has a directory at the volume's place, " +
		"add nocopy to the mount (-v <volume>:<path>:nocopy, volume-nocopy, in compose volume: {nocopy: true})")
	errNothingWanted = errors.New("the container asks for nothing: name a profile of the host's configuration in the volume's option profile, " +
		"or give the container quaymaster.secret.* labels")
	errMaps = errors.New("these containers number users differently (--userns): give each a volume of its own")
)

// mount has the secrets of the container that starts delivered, and answers
// with their tree.
func (g *Gate) mount(ctx context.Context, r request) (answer, error) {
	if err := checkID(r.ID); err != nil {
		return answer{}, err
	}
	v, err := g.volume(r.Name)
	if err != nil {
		return answer{}, err
	}
	if v.Profile != "" && !g.Profiles(v.Profile) {
		return answer{}, noProfile(v.Profile)
	}
	ctx, cancel := context.WithTimeout(ctx, min(g.Timeout, engineTimeout)*9/10) // the agent gives up first, and says why
	defer cancel()
	candidates, err := g.Finder.Mounting(ctx, g.Driver, r.Name)
	if err != nil {
		return answer{}, fmt.Errorf("which container starts %s: %s", inject.NotLearnt, oneLine(err.Error()))
	}
	if path, used := g.mountedAgain(r, candidates); used {
		return answer{Mountpoint: path}, nil
	}
	arrival, err := newArrival(candidates)
	if err != nil {
		return answer{}, err
	}
	arrival.Tree, arrival.Profile = r.ID, v.Profile
	path, err := g.deliver(ctx, r, arrival)
	if err != nil {
		if ctx.Err() == context.Canceled {
			return answer{}, err // nobody waits for it, or the next agent is asked
		}
		g.Log.Warn("volume gate refused a mount", "volume", r.Name, "container", arrival.Container, "others", arrival.Others, "error", err)
		return answer{}, errors.New(oneLine(err.Error()))
	}
	return answer{Mountpoint: path}, nil
}

// newArrival makes one arrival of the containers that may be the one.
func newArrival(candidates []inject.Arrival) (inject.Arrival, error) {
	if len(candidates) == 0 {
		return inject.Arrival{}, errNobody
	}
	candidates = slices.SortedFunc(slices.Values(candidates), func(a, b inject.Arrival) int { return strings.Compare(a.Container, b.Container) })
	arrival := candidates[0]
	arrival.Gate, arrival.FilesOnly, arrival.MemoryOnly = inject.GateVolume, true, false
	for _, other := range candidates[1:] {
		if !reflect.DeepEqual(other.UIDMap, arrival.UIDMap) || !reflect.DeepEqual(other.GIDMap, arrival.GIDMap) {
			return inject.Arrival{}, fmt.Errorf("containers %.12s and %.12s: %w", arrival.Container, other.Container, errMaps)
		}
		if !reflect.DeepEqual(other.User, arrival.User) {
			arrival.User = nil // what goes in must suit all: the owner has to be configured
		}
		arrival.Others = append(arrival.Others, other.Container)
	}
	return arrival, nil
}

// deliver asks the Deliverer and notes the mount; a bug in there refuses this
// one container.
func (g *Gate) deliver(ctx context.Context, r request, arrival inject.Arrival) (path string, err error) {
	defer inject.Recover(g.Log, &err, "container", arrival.Container, "volume", r.Name)
	delivery, err := g.Deliverer.Deliver(ctx, arrival)
	if err != nil {
		return "", err
	}
	if delivery.Source == "" {
		return "", fmt.Errorf("container %.12s: %w", arrival.Container, errNothingWanted)
	}
	path = delivery.Source
	if g.View != "" {
		path = filepath.Join(g.View, filepath.Base(path))
	}
	note := mount{Volume: r.Name, Containers: append([]string{arrival.Container}, arrival.Others...), Mountpoint: path, Count: 1}
	if err = g.note(r.ID, note); err == nil {
		err = context.Cause(ctx) // the engine hung up: it will not unmount what it does not know of
	}
	if err != nil {
		g.end(ctx, r.ID)
		return "", err
	}
	return path, nil
}

func (g *Gate) note(id string, m mount) error {
	g.notes.Lock()
	defer g.notes.Unlock()
	if err := g.state.putMount(id, m); err != nil {
		return fmt.Errorf("the agent could not note the mount: %w", err)
	}
	return nil
}

// mountedAgain answers for a mount that is in use: its tree is there, and of
// the containers that it may belong to, one runs. After a crash of the engine
// none does, and a mount under the ID of then is a start like any other.
func (g *Gate) mountedAgain(r request, stopped []inject.Arrival) (path string, used bool) {
	g.notes.Lock()
	defer g.notes.Unlock()
	var known mount
	if err := g.state.get(mountFile(r.ID), &known); err != nil {
		return "", false
	}
	running := slices.ContainsFunc(known.Containers, func(id string) bool {
		return !slices.ContainsFunc(stopped, func(a inject.Arrival) bool { return a.Container == id })
	})
	if _, err := os.Stat(known.Mountpoint); err != nil || !running || known.Volume != r.Name {
		return "", false
	}
	known.Count++
	if err := g.state.putMount(r.ID, known); err != nil {
		g.Log.Error("volume gate could not note that a volume is mounted once more", "volume", r.Name, "error", err)
	}
	return known.Mountpoint, true
}

// unmount ends a mount that was unmounted as often as mounted, and one that
// nobody knows of: an engine that crashed may have forgotten to unmount, or do
// it twice.
func (g *Gate) unmount(ctx context.Context, r request) (answer, error) {
	if err := checkID(r.ID); err != nil {
		return answer{}, err
	}
	used, err := g.usedStill(r)
	if err != nil || used {
		return answer{}, err
	}
	g.end(ctx, r.ID)
	return answer{}, nil
}

// usedStill counts a mount down.
func (g *Gate) usedStill(r request) (bool, error) {
	g.notes.Lock()
	defer g.notes.Unlock()
	var known mount
	err := g.state.get(mountFile(r.ID), &known)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.Log.Warn("volume gate could not read what it noted of a mount", "volume", r.Name, "error", err)
	}
	if err != nil || known.Count <= 1 {
		return false, nil
	}
	known.Count--
	if err := g.state.putMount(r.ID, known); err != nil {
		return true, fmt.Errorf("the agent could not note that it is unmounted: %w", err)
	}
	return true, nil
}

// end ends a mount's tree, although the engine may have hung up.
func (g *Gate) end(ctx context.Context, id string) {
	g.Ender.End(context.WithoutCancel(ctx), id)
	if err := g.state.remove(mountFile(id)); err != nil {
		g.Log.Error("volume gate could not forget a mount", "mount", id, "error", err)
	}
}

// checkID takes the IDs that the engine makes: 64 hex digits, as a container's
// (stringid.GenerateRandomID). They become names of trees and files.
func checkID(id string) error {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 32 || strings.ToLower(id) != id {
		return fmt.Errorf("%q is no ID of a mount", id)
	}
	return nil
}
