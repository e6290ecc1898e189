package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// Mounting returns the containers that may be the one for which the engine is
// calling Mount of a volume driver just now: those that mount the volume and do
// not run. It is several where several share the volume, and none where the
// engine calls for another reason, as when it makes a container and looks into
// its volumes. User is nil where only the image knows the number.
//
// Docker names no container in that call. While the engine restores containers
// at its own start, it answers nobody, and what its files say of who runs is of
// the time before; so then all that mount the volume are returned.
func (e *Engine) Mounting(ctx context.Context, driver, volume string) ([]inject.Arrival, error) {
	p := e.place()
	ids, apiErr := e.listMounting(ctx, driver, volume)
	if apiErr != nil {
		e.log.Debug("the engine does not say who mounts a volume; its files do", "volume", volume, "error", apiErr)
		var err error
		if ids, err = p.scanMounting(driver, volume); err != nil {
			return nil, errors.Join(apiErr, err)
		}
	}
	arrivals := make([]inject.Arrival, 0, len(ids))
	for _, id := range ids {
		arrival, err := p.arrival(id)
		if errors.Is(err, fs.ErrNotExist) && apiErr != nil {
			continue // removed since the scan
		}
		if err != nil {
			e.log.Warn("as which user a container runs is not known: the engine's files cannot be read; "+
				"say with docker.data_root where they are, or with its labels who owns its secrets, in numbers", "container", id, "error", err)
		}
		arrivals = append(arrivals, arrival)
	}
	return arrivals, nil
}

// listMounting asks the engine, as briefly as a start can wait. It never
// inspects a container: that waits for the start that waits for this.
func (e *Engine) listMounting(ctx context.Context, driver, volume string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("volume", volume))})
	if err != nil {
		return nil, fmt.Errorf("list the containers that mount volume %s: %w", volume, err)
	}
	var ids []string
	for _, summary := range list {
		for _, m := range summary.Mounts { // the filter takes the paths of mounts too
			if m.Name == volume && m.Driver == driver && mayStart(summary.State) {
				ids = append(ids, summary.ID)
				break
			}
		}
	}
	return ids, nil
}

// mayStart reports whether a container in this state can be on its way up. One
// that its restart policy starts again is "restarting" until it runs.
func mayStart(state container.ContainerState) bool {
	return state == container.StateCreated || state == container.StateExited || state == container.StateRestarting
}

// scanMounting finds the containers in the engine's own files. Files that
// cannot be read are an error only where nothing else is found: a container
// that is just being removed leaves a directory without them.
func (p place) scanMounting(driver, volume string) (ids []string, err error) {
	containers := filepath.Join(p.root, "containers")
	entries, err := os.ReadDir(containers)
	if err != nil {
		return nil, fmt.Errorf("look through the engine's files: %w", err)
	}
	var problems []error
	for _, entry := range entries {
		c, err := readContainerFile(p.engineDir(entry.Name()), entry.Name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		if err == nil && c.mounts(driver, volume) {
			ids = append(ids, entry.Name())
		}
	}
	if len(ids) == 0 {
		return nil, errors.Join(problems...)
	}
	return ids, nil
}

// arrival is what the engine's files say of a container. What it returns beside
// an error lacks what they would have said: then the container counts as one
// that has what the engine gives to all.
func (p place) arrival(id string) (inject.Arrival, error) {
	a := inject.Arrival{Container: id, FilesOnly: true}
	if p.remap != nil {
		a.UIDMap, a.GIDMap = idMap("/etc/subuid", p.remap.UID), idMap("/etc/subgid", p.remap.GID)
	}
	c, err := readContainerFile(p.engineDir(id), id)
	if err != nil {
		return a, err
	}
	a.EngineDir, a.User = p.engineDir(id), c.owner()
	if p.remap == nil {
		return a, nil
	}
	shared, err := sharesUsers(a.EngineDir)
	if err == nil && shared {
		a.UIDMap, a.GIDMap = nil, nil
	}
	return a, err
}

// located adds the IDs with which the engine had our driver mount the volumes
// of a container that runs. Only its own file says them, which it writes before
// it reports the start: what the API calls the source of such a volume is what
// another run, or another container, got of the driver.
func (e *Engine) located(facts workload.Facts) workload.Facts {
	if !mounts(facts, e.options.Driver) {
		return facts
	}
	c, err := readContainerFile(e.place().engineDir(facts.ID), facts.ID)
	if err != nil {
		e.log.Warn("what a container mounts is not known: the engine's files cannot be read; say with docker.data_root where they are",
			"container", facts.ID, "error", err)
	}
	for i, v := range facts.Volumes {
		if v.Driver == e.options.Driver {
			facts.Volumes[i].MountID = c.mountID(v)
		}
	}
	return facts
}

func (c containerFile) mountID(v workload.Volume) string {
	for _, m := range c.MountPoints {
		if m != nil && m.Driver == v.Driver && m.Name == v.Name {
			return m.ID
		}
	}
	return ""
}
