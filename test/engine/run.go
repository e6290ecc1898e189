package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Result is how a container ended.
type Result struct {
	ID             string
	ExitCode       int64
	Stdout, Stderr []byte
}

// Run creates a container, starts it and waits until it has ended. The
// container is kept. If it cannot be started, the error is what the user of
// `docker run` would see, and Result has its ID.
func (e *Engine) Run(ctx context.Context, config *container.Config, host *container.HostConfig) (Result, error) {
	id, err := e.Launch(ctx, config, host)
	result := Result{ID: id}
	if err != nil {
		return result, err
	}
	waited, failed := e.client.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case err := <-failed:
		return result, fmt.Errorf("wait for container %.12s: %w", id, err)
	case end := <-waited:
		result.ExitCode = end.StatusCode
	}
	result.Stdout, result.Stderr, err = e.Logs(ctx, id)
	return result, err
}

// Launch creates a container and starts it. If it cannot be started, id is
// that of the container all the same.
func (e *Engine) Launch(ctx context.Context, config *container.Config, host *container.HostConfig) (id string, err error) {
	created, err := e.client.ContainerCreate(ctx, config, host, nil, nil, "")
	if err != nil {
		return "", fmt.Errorf("create a container of %s: %w", config.Image, err)
	}
	if err := e.client.ContainerStart(ctx, created.ID, container.StartOptions{}); err != nil {
		return created.ID, fmt.Errorf("start container %.12s: %w", created.ID, err)
	}
	return created.ID, nil
}

// Logs are what a container without a terminal has written up to now.
func (e *Engine) Logs(ctx context.Context, id string) (stdout, stderr []byte, err error) {
	logs, err := e.client.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return nil, nil, fmt.Errorf("read the log of container %.12s: %w", id, err)
	}
	defer logs.Close()
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, logs); err != nil {
		return nil, nil, fmt.Errorf("read the log of container %.12s: %w", id, err)
	}
	return out.Bytes(), errs.Bytes(), nil
}

// Reports are what the probe in a container has reported up to now: of every
// start of the container, and without one that it is just writing.
func (e *Engine) Reports(ctx context.Context, id string) ([]Report, error) {
	stdout, _, err := e.Logs(ctx, id)
	if err != nil {
		return nil, err
	}
	reports, err := ParseReports(stdout)
	if errors.Is(err, ErrPartial) {
		err = nil
	}
	return reports, err
}
