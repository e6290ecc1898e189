package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/inject/plugin"
)

// optionProfile is the only option of a volume.
const optionProfile = "profile"

// errUnknown is the error of a volume that the driver does not have.
var errUnknown = errors.New("the driver has no such volume: create it, with docker volume create or in the compose file")

// create keeps a new volume. The engine does not ask for one that it knows.
func (g *Gate) create(_ context.Context, r request) (answer, error) {
	for _, option := range slices.Sorted(maps.Keys(r.Opts)) {
		if option != optionProfile {
			return answer{}, fmt.Errorf("there is no option %q: the only one is %s=<a profile of the host's configuration>", option, optionProfile)
		}
	}
	wanted := volume{Name: r.Name, Profile: r.Opts[optionProfile], Created: time.Now().UTC()}
	if wanted.Profile != "" && !g.Profiles(wanted.Profile) {
		return answer{}, noProfile(wanted.Profile)
	}
	switch known, err := g.volume(r.Name); {
	case err == nil && known.Profile != wanted.Profile:
		return answer{}, fmt.Errorf("it exists with another profile (%q, not %q): remove it first", known.Profile, wanted.Profile)
	case err == nil:
		return answer{}, nil
	case !errors.Is(err, errUnknown):
		return answer{}, err
	}
	if err := g.state.putVolume(wanted); err != nil {
		return answer{}, fmt.Errorf("the agent could not keep it: %w", err)
	}
	return answer{}, nil
}

func noProfile(name string) error {
	return fmt.Errorf("there is no profile %q: add it to the host's configuration (profiles:), or correct the option %s of the volume", name, optionProfile)
}

// remove forgets a volume, which the engine allows when no container has it.
func (g *Gate) remove(_ context.Context, r request) (answer, error) {
	err := g.state.root.Remove(volumeFile(r.Name))
	if errors.Is(err, fs.ErrNotExist) {
		err = errUnknown
	}
	return answer{}, err
}

// path answers what the engine shows as the volume's place on the host. It has
// none: each mount has its own.
func (g *Gate) path(_ context.Context, r request) (answer, error) {
	_, err := g.volume(r.Name)
	return answer{}, err
}

// lookUp answers Get. An engine that is told that a volume does not exist
// forgets it, with its labels, so an answer is given only by who knows.
func (g *Gate) lookUp() plugin.Call {
	call := named(func(_ context.Context, r request) (answer, error) {
		found, err := g.volume(r.Name)
		switch {
		case err == nil:
			return answer{Volume: found.entry()}, nil
		case errors.Is(err, errUnknown):
			return answer{}, err
		}
		return answer{}, fmt.Errorf("%w: %w", plugin.ErrNoAnswer, err)
	})
	return func(ctx context.Context, body []byte) ([]byte, error) {
		a, err := call(ctx, body)
		if errors.Is(err, plugin.ErrNoRequest) {
			err = fmt.Errorf("%w: %w", plugin.ErrNoAnswer, err)
		}
		return a, err
	}
}

func (g *Gate) list() (answer, error) {
	files, err := g.state.names(volumesDir)
	if err != nil {
		return answer{}, fmt.Errorf("quaymaster: the agent could not read its volumes: %w", err)
	}
	var a answer
	for _, file := range files {
		var v volume
		if err := g.state.get(file, &v); err != nil {
			g.Log.Error("volume gate could not read what it keeps of a volume", "file", file, "error", err)
			continue
		}
		a.Volumes = append(a.Volumes, *v.entry())
	}
	slices.SortFunc(a.Volumes, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return a, nil
}

func (g *Gate) volume(name string) (v volume, err error) {
	err = g.state.get(volumeFile(name), &v)
	if errors.Is(err, fs.ErrNotExist) {
		return v, errUnknown
	}
	if err != nil {
		return v, fmt.Errorf("the agent could not read what it keeps of it: %w", err)
	}
	return v, nil
}

func (v volume) entry() *entry {
	e := &entry{Name: v.Name, CreatedAt: v.Created.Format(time.RFC3339), Status: map[string]string{}}
	if v.Profile != "" {
		e.Status[optionProfile] = v.Profile
	}
	return e
}
