package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// Reload makes dockerd read daemon.json again (SIGHUP) and waits until it has
// done so. If dockerd refuses the file, the error says why.
func (e *Engine) Reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	log, err := os.ReadFile(e.LogFile())
	if err != nil {
		return fmt.Errorf("read the engine's log: %w", err)
	}
	since := time.Now()
	if err := e.dockerd.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	var refused error
	err = e.dockerd.Until(ctx, func(ctx context.Context) error {
		if refused = e.refusal(len(log)); refused != nil {
			return nil
		}
		return e.reloaded(ctx, since)
	})
	return errors.Join(err, refused)
}

// reloaded is nil if dockerd has reported a reload since then: it does so as
// an event, when it is done.
func (e *Engine) reloaded(ctx context.Context, since time.Time) error {
	stamp := func(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
	seen, failed := e.client.Events(ctx, events.ListOptions{
		Since:   stamp(since),
		Until:   stamp(time.Now()), // in the past: dockerd answers at once
		Filters: filters.NewArgs(filters.Arg("type", string(events.DaemonEventType)), filters.Arg("event", "reload")),
	})
	select {
	case <-seen:
		return nil
	case err := <-failed: // io.EOF when there was none
		return fmt.Errorf("no reload was reported: %w", err)
	}
}

// refusal is dockerd's complaint about daemon.json in its log from offset on.
// dockerd tells it nobody else.
func (e *Engine) refusal(offset int) error {
	log, err := os.ReadFile(e.LogFile())
	if err != nil {
		return fmt.Errorf("read the engine's log: %w", err)
	}
	for line := range strings.Lines(string(log[offset:])) {
		if strings.Contains(line, "level=error") && strings.Contains(line, "configur") {
			return fmt.Errorf("dockerd refuses %s: %s", e.ConfigFile(), strings.TrimSpace(line))
		}
	}
	return nil
}

// Kill ends dockerd as a crash would (SIGKILL). Containers and containerd
// stay. Restart brings it back.
func (e *Engine) Kill() error {
	defer e.client.Close() // idle connections only; the client stays usable
	return e.dockerd.Kill()
}

// Restart stops dockerd as `systemctl restart docker` does, if it runs, and
// starts it again in the same directories. Containers that do not end within
// their own stop timeout are waited for.
func (e *Engine) Restart(ctx context.Context) error {
	select {
	case <-e.containerd.Exited():
		return ErrStopped
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := e.dockerd.Stop(ctx); err != nil {
		return err
	}
	// A dockerd that was killed leaves it, and the next one would not start
	// if the number were in use again.
	if err := os.Remove(e.PidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the pid file of a dead dockerd: %w", err)
	}
	return e.launchDockerd(ctx)
}

// Stop ends the Engine for good: containers, dockerd, containerd, whatever
// they left running, every mount below Dir, and the network namespace. The
// data-root and the log stay to be looked at until Remove. A second Stop does
// nothing.
func (e *Engine) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var errs []error
	if e.dockerd != nil {
		e.stopContainers(ctx)
		errs = append(errs, e.dockerd.Stop(ctx), e.client.Close())
	}
	if e.containerd != nil {
		errs = append(errs, e.containerd.Stop(ctx))
	}
	errs = append(errs, e.clear(ctx))
	if e.network != nil {
		errs = append(errs, e.network.Close())
		e.network = nil
	}
	errs = append(errs, e.leaveMounts())
	return errors.Join(errs...)
}

// stopContainers stops what runs, with little patience. dockerd would do the
// same on SIGTERM, but waits ten seconds for each container whose first
// process ignores that, and with live-restore it would leave all of them
// running. Errors do not matter here: whatever still runs afterwards is ended
// by clear.
func (e *Engine) stopContainers(ctx context.Context) {
	running, err := e.client.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return
	}
	patience := 1
	var all sync.WaitGroup
	for _, c := range running {
		all.Go(func() { _ = e.client.ContainerStop(ctx, c.ID, container.StopOptions{Timeout: &patience}) })
	}
	all.Wait()
}

// Remove stops the Engine and deletes its directory.
func (e *Engine) Remove(ctx context.Context) error {
	return errors.Join(e.Stop(ctx), os.RemoveAll(e.dir), e.lock.Close())
}
