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

	"github.com/docker/docker/client"

	"github.com/quaymaster/quaymaster/inject/jsonedit"
)

// updateAttempts is how often an update is tried anew because somebody else
// changed the service between reading and writing.
const updateAttempts = 5

// maxService is the most that is read of a service, in bytes.
const maxService = 4 << 20

// errOutOfSequence says that a service was changed since it was read.
var errOutOfSequence = errors.New("it was changed by others meanwhile")

// UpdateService begins a rolling update of a service in which nothing changes
// but the counter that forces one, as docker service update --force does: all
// tasks are replaced as the service's update configuration says, and so get
// their secrets anew. ServiceState tells how it goes.
//
// The service is read and written as the engine's newest API has it, and byte
// for byte: the client library would drop the settings that it does not know.
func (e *Engine) UpdateService(ctx context.Context, serviceID string) error {
	var err error
	for range updateAttempts {
		if err = e.updateService(ctx, serviceID); !errors.Is(err, errOutOfSequence) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("update service %s: %w", serviceID, err)
	}
	return nil
}

func (e *Engine) updateService(ctx context.Context, serviceID string) error {
	path := "/services/" + url.PathEscape(serviceID)
	service, err := e.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	version, spec, err := forced(service)
	if err != nil {
		return err
	}
	_, err = e.call(ctx, http.MethodPost, path+"/update?version="+version, spec)
	return err
}

// forced reads a service and returns the number of its version, and its spec
// with the counter one higher.
func forced(service []byte) (version string, spec []byte, err error) {
	root, err := jsonedit.Parse(service)
	if err != nil {
		return "", nil, fmt.Errorf("read the service: %w", err)
	}
	index := root.Get("Version", "Index")
	if index.Kind() != jsonedit.Number {
		return "", nil, errors.New("the engine does not say its version")
	}
	if spec, err = force(root.Get("Spec").Raw()); err != nil {
		return "", nil, err
	}
	return string(index.Raw()), spec, nil
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
	}
	return fmt.Errorf("the engine says: %s", said.Message)
}
