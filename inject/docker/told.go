package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/swarm"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/jsonedit"
)

// TellService has the label inject.LabelServiceError of a service say text, or
// takes it away for an empty one. It changes nothing where that is so already,
// and is content with a service that is no more. The labels of a service are
// not those of its tasks: none is replaced for it.
//
// While an update is under way, or paused, it says nothing: ErrUnderWay.
func (e *Engine) TellService(ctx context.Context, serviceID, text string) error {
	err := e.changeService(ctx, serviceID, func(service jsonedit.Node) ([]byte, error) { return told(service, text) })
	if err != nil && !errors.Is(err, inject.ErrGone) {
		return fmt.Errorf("label service %s: %w", serviceID, err)
	}
	return nil
}

// told is a service's spec with the label; nil: it says so already.
func told(service jsonedit.Node, text string) ([]byte, error) {
	label := service.Get("Spec", "Labels", inject.LabelServiceError)
	if now, _ := label.Text(); now == text {
		return nil, nil
	}
	switch state := stateOf(service); state {
	case swarm.UpdateStateUpdating, swarm.UpdateStatePaused, swarm.UpdateStateRollbackStarted, swarm.UpdateStateRollbackPaused:
		return nil, fmt.Errorf("%w (%s)", ErrUnderWay, state)
	}
	return labelled(bytes.Clone(service.Get("Spec").Raw()), text)
}

func labelled(spec []byte, text string) ([]byte, error) {
	root, err := jsonedit.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("read the service's spec: %w", err)
	}
	value, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	alone := `{"` + inject.LabelServiceError + `":` + string(value) + `}`
	labels := root.Get("Labels")
	var edit jsonedit.Edit
	switch {
	case labels.Kind() == jsonedit.Missing:
		edit, err = root.Insert("Labels", alone)
	case labels.Kind() != jsonedit.Object: // null
		edit = labels.Replace(alone)
	case text == "":
		edit, err = labels.Remove(inject.LabelServiceError)
	case labels.Get(inject.LabelServiceError).Kind() != jsonedit.Missing:
		edit = labels.Get(inject.LabelServiceError).Replace(string(value))
	default:
		edit, err = labels.Insert(inject.LabelServiceError, string(value))
	}
	if err != nil {
		return nil, fmt.Errorf("the service's labels: %w", err)
	}
	return jsonedit.Apply(spec, edit)
}
