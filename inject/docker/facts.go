package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// Facts says what the container with this ID is, without its process user,
// which only the gate knows, and without where its volumes are mounted from,
// which changes at each start. engineDir is the engine's own directory for the
// container, or empty. It never waits longer than a few hundred milliseconds
// for the engine, and never guesses: facts that are not complete are an error,
// where they decide anything.
func (e *Engine) Facts(ctx context.Context, id, engineDir string) (workload.Facts, error) {
	if facts, known := e.known(id); known {
		return facts, nil
	}
	engineDir = cmp.Or(engineDir, e.place().engineDir(id))
	short, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	c, err := e.find(short, id, engineDir)
	if err != nil {
		return workload.Facts{}, err
	}
	facts, apiErr := e.complete(short, c)
	if apiErr == nil {
		return atRest(facts), nil
	}
	if facts.ImageLabels, err = readImageFile(engineDir, facts.ImageID); err == nil {
		e.remember(facts, c.image)
		return atRest(facts), nil
	}
	if workload.Labelled(facts.Labels) || mounts(facts, e.options.Driver) {
		return workload.Facts{}, fmt.Errorf("which labels of the container come from its image is not known: %w", errors.Join(apiErr, err))
	}
	return atRest(untrusted(facts)), nil // asks for nothing by itself, and must not fail for this
}

// find asks the engine, or where that fails its own file.
func (e *Engine) find(ctx context.Context, id, engineDir string) (described, error) {
	c, found, err := e.list(ctx, id)
	if err == nil && found {
		return c, nil
	}
	if err == nil {
		err = errors.New("the engine does not list it")
	}
	file, fileErr := readContainerFile(engineDir, id)
	if fileErr != nil {
		return described{}, errors.Join(err, fileErr)
	}
	return file.described(), nil
}

// learn keeps the facts of a container that was just created, so that its
// start needs no request.
func (e *Engine) learn(ctx context.Context, id string) error {
	c, found, err := e.list(ctx, id)
	if err != nil || !found {
		return err
	}
	_, err = e.complete(ctx, c)
	return err
}

// complete adds the labels that the image brings along, and remembers the
// result.
func (e *Engine) complete(ctx context.Context, c described) (workload.Facts, error) {
	labels, err := e.imageLabels(ctx, c.image)
	if err != nil {
		return c.Facts, err
	}
	c.ImageLabels = labels
	e.remember(c.Facts, c.image)
	return c.Facts, nil
}

func (e *Engine) known(id string) (workload.Facts, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	facts, known := e.containers[id]
	return facts, known
}

// remember keeps complete facts, without what changes at each start. Maps are
// cloned: facts are handed out without a lock.
func (e *Engine) remember(facts workload.Facts, image imageRef) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[facts.ID] = atRest(facts)
	if _, known := e.images[image.key()]; !known {
		e.images[image.key()] = maps.Clone(facts.ImageLabels)
		e.unkept = true
	}
}

// atRest leaves out what is true of one run only.
func atRest(facts workload.Facts) workload.Facts {
	facts.Volumes = slices.Clone(facts.Volumes)
	for i := range facts.Volumes {
		facts.Volumes[i].MountID = ""
	}
	return facts
}

func (e *Engine) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
}

// rename keeps the name true: policy may select by it.
func (e *Engine) rename(id, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if facts, known := e.containers[id]; known {
		facts.Name = name
		e.containers[id] = facts
	}
}

// forgetAllBut drops what is kept of containers and images that are gone.
// present has the containers there are, with their images' keys.
func (e *Engine) forgetAllBut(present map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.containers, func(id string, _ workload.Facts) bool { _, there := present[id]; return !there })
	used := map[string]bool{}
	for _, key := range present {
		used[key] = true
	}
	for key := range e.images {
		if !used[key] {
			delete(e.images, key)
			e.unkept = true
		}
	}
}
