package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/jsonedit"
)

// updateAttempts is how often an update is tried anew because somebody else
// changed the service between reading and writing.
const updateAttempts = 5

// maxService is the most that is read of a service, in bytes.
const maxService = 4 << 20

// errOutOfSequence says that a service was changed since it was read.
var errOutOfSequence = errors.New("it was changed by others meanwhile")

// ErrUnderWay says that a service is not changed because its last update has
// not ended well. A change of whatever kind takes the place of the spec that the
// swarm would go back to, and has an update go on that it has paused
// (UpdateService in swarmkit's manager/controlapi).
var ErrUnderWay = errors.New("its last update is under way or paused")

// UpdateService begins a rolling update of a service in which nothing changes
// but the counter that forces one, as docker service update --force does: all
// tasks are replaced as the service's update configuration says, and so get
// their secrets anew. ServiceState tells how it goes.
//
// The service is read and written as the engine's newest API has it, and byte
// for byte: the client library would drop the settings that it does not know.
//
// An update that somebody else has begun goes first, and one of theirs that is
// paused is for them to decide: ErrUnderWay. Of a service that is no more the
// error is inject.ErrGone.
func (e *Engine) UpdateService(ctx context.Context, serviceID string) error {
	if err := e.changeService(ctx, serviceID, forced); err != nil {
		return fmt.Errorf("update service %s: %w", serviceID, err)
	}
	return nil
}

// changeService writes the spec that change makes of a service; nil: it stays as
// it is.
func (e *Engine) changeService(ctx context.Context, serviceID string, change func(service jsonedit.Node) (spec []byte, err error)) (err error) {
	for range updateAttempts {
		if err = e.changeOnce(ctx, serviceID, change); !errors.Is(err, errOutOfSequence) {
			return err
		}
	}
	return err
}

func (e *Engine) changeOnce(ctx context.Context, serviceID string, change func(service jsonedit.Node) (spec []byte, err error)) error {
	path := "/services/" + url.PathEscape(serviceID)
	answer, err := e.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	service, err := jsonedit.Parse(answer)
	if err != nil {
		return fmt.Errorf("read the service: %w", err)
	}
	index := service.Get("Version", "Index")
	if index.Kind() != jsonedit.Number {
		return errors.New("the engine does not say its version")
	}
	spec, err := change(service)
	if err != nil || spec == nil {
		return err
	}
	_, err = e.call(ctx, http.MethodPost, path+"/update?version="+string(index.Raw()), spec)
	return err
}

// forced is a service's spec with the counter one higher.
func forced(service jsonedit.Node) ([]byte, error) {
	switch state := stateOf(service); {
	case state == swarm.UpdateStateRollbackStarted,
		(state == swarm.UpdateStateUpdating || state == swarm.UpdateStatePaused) && !onlyForced(service):
		return nil, fmt.Errorf("%w (%s)", ErrUnderWay, state)
	}
	return force(service.Get("Spec").Raw())
}

// stateOf is how a service's last update goes; empty: there is none.
func stateOf(service jsonedit.Node) swarm.UpdateState {
	state, _ := service.Get("UpdateStatus", "State").Text()
	return swarm.UpdateState(state)
}

// onlyForced reports whether nothing but the counter has changed with the last
// update: nobody is harmed when that goes on.
func onlyForced(service jsonedit.Node) bool {
	without := func(spec jsonedit.Node) string {
		if spec.Kind() != jsonedit.Object {
			return ""
		}
		text := bytes.Clone(spec.Raw())
		root, err := jsonedit.Parse(text)
		if err != nil || root.Get("TaskTemplate", "ForceUpdate").Kind() == jsonedit.Missing {
			return string(text)
		}
		text, err = jsonedit.Apply(text, root.Get("TaskTemplate", "ForceUpdate").Replace("0"))
		if err != nil {
			return ""
		}
		return string(text)
	}
	now, before := without(service.Get("Spec")), without(service.Get("PreviousSpec"))
	return now != "" && now == before
}

func force(spec []byte) ([]byte, error) {
	root, err := jsonedit.Parse(bytes.Clone(spec))
	if err != nil {
		return nil, fmt.Errorf("read the service's spec: %w", err)
	}
	template := root.Get("TaskTemplate")
	counter := template.Get("ForceUpdate")
	if counter.Kind() == jsonedit.Missing {
		edit, err := template.Insert("ForceUpdate", "1")
		if err != nil {
			return nil, fmt.Errorf("the service's task template: %w", err)
		}
		return jsonedit.Apply(spec, edit)
	}
	count, err := strconv.ParseUint(string(counter.Raw()), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the service's ForceUpdate: %w", err)
	}
	return jsonedit.Apply(spec, counter.Replace(strconv.FormatUint(count+1, 10)))
}

// call makes a request without a version in its path, which the engine takes
// as one in its own.
func (e *Engine) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	address, err := client.ParseHostURL(e.options.Host)
	if err != nil {
		return nil, fmt.Errorf("docker.host %q: %w", e.options.Host, err)
	}
	host := address.Host
	if address.Scheme == "unix" {
		host = client.DummyHost
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the engine: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := e.api.HTTPClient().Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the engine: %w", err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxService))
	if err != nil {
		return nil, fmt.Errorf("read the engine's answer: %w", err)
	}
	if answer.StatusCode >= 300 {
		return nil, refusal(answer.StatusCode, content)
	}
	return content, nil
}

// refusal is what the engine says in place of an answer.
func refusal(status int, content []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(content, &said); err != nil || said.Message == "" {
		return fmt.Errorf("the engine answers with status %d", status)
	}
	switch {
	case strings.Contains(said.Message, "update out of sequence"):
		return fmt.Errorf("%w: %s", errOutOfSequence, said.Message)
	case strings.Contains(said.Message, "not a swarm manager"):
		return fmt.Errorf("%w: %s", ErrNotManager, said.Message)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %s", inject.ErrGone, said.Message)
	}
	return fmt.Errorf("the engine says: %s", said.Message)
}
