package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// Facts says what the container with this ID is, without its process user,
// which only the gate knows. engineDir is the engine's own directory for the
// container, or empty. It never waits longer than a few hundred milliseconds
// for the engine, and never guesses: facts that are not complete are an error.
func (e *Engine) Facts(ctx context.Context, id, engineDir string) (workload.Facts, error) {
	if facts, known := e.known(id); known {
		return facts, nil
	}
	short, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	facts, found, apiErr := e.list(short, id)
	if apiErr == nil && !found {
		apiErr = errors.New("the engine does not list it")
	}
	if apiErr != nil {
		var err error
		if facts, err = readContainerFile(engineDir, id); err != nil {
			return workload.Facts{}, errors.Join(apiErr, err)
		}
	}
	if !workload.Labelled(facts.Labels) {
		return facts, nil // its image's labels decide nothing
	}
	facts, err := e.complete(short, facts)
	if err == nil {
		return facts, nil
	}
	if facts.ImageLabels, err = readImageFile(engineDir, facts.ImageID); err != nil {
		return workload.Facts{}, fmt.Errorf("which labels of the container come from its image is not known: %w", err)
	}
	e.remember(facts)
	return facts, nil
}

// learn keeps the facts of a container that was just created, so that its
// start needs no request.
func (e *Engine) learn(ctx context.Context, id string) error {
	facts, found, err := e.list(ctx, id)
	if err != nil || !found {
		return err
	}
	_, err = e.complete(ctx, facts)
	return err
}

// complete adds the labels that the image brings along, and remembers the
// result.
func (e *Engine) complete(ctx context.Context, facts workload.Facts) (workload.Facts, error) {
	labels, err := e.imageLabels(ctx, facts.ImageID)
	if err != nil {
		return facts, err
	}
	facts.ImageLabels = labels
	e.remember(facts)
	return facts, nil
}

func (e *Engine) imageLabels(ctx context.Context, imageID string) (map[string]string, error) {
	e.mu.Lock()
	labels, known := e.images[imageID]
	e.mu.Unlock()
	if known {
		return labels, nil
	}
	image, err := e.api.ImageInspect(ctx, imageID)
	if err != nil {
		return nil, fmt.Errorf("inspect image %s: %w", imageID, err)
	}
	if image.Config != nil {
		labels = image.Config.Labels
	}
	return labels, nil
}

func (e *Engine) known(id string) (workload.Facts, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	facts, known := e.containers[id]
	return facts, known
}

// remember keeps complete facts. Maps are cloned: facts are handed out without
// a lock.
func (e *Engine) remember(facts workload.Facts) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[facts.ID] = facts
	e.images[facts.ImageID] = maps.Clone(facts.ImageLabels)
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
func (e *Engine) forgetAllBut(present map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	used := map[string]bool{}
	for id, facts := range e.containers {
		if !present[id] {
			delete(e.containers, id)
			continue
		}
		used[facts.ImageID] = true
	}
	maps.DeleteFunc(e.images, func(id string, _ map[string]string) bool { return !used[id] })
}
