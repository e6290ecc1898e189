package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// launches and removals are how many containers are started or removed
	// at a time.
	launches = 2
	removals = 8
	// settling is how long a fleet that has just come up is left alone
	// before the agent's memory is read.
	settling = 2 * time.Second
	// rotationPatience is more than two refresh intervals of the default
	// configuration.
	rotationPatience = 3 * time.Minute
	rotationMessage  = "secrets rotated"
)

// measureFleet measures the agent while many labelled containers run: its
// memory, what it does while nothing happens, and how long a rotation takes.
func (b *bench) measureFleet(ctx context.Context) (err error) {
	say("starting %d labelled containers", b.containers)
	ids := make(chan string, b.containers)
	defer func() { err = errors.Join(err, b.removeAll(ctx, ids)) }()
	group, launching := errgroup.WithContext(ctx)
	group.SetLimit(launches)
	for range b.containers {
		group.Go(func() error {
			id, err := b.launch(launching)
			if err == nil {
				ids <- id
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := sleep(ctx, settling); err != nil {
		return err
	}
	if err := b.remember("all containers run", b.containers); err != nil {
		return err
	}
	if err := b.measureRotation(ctx); err != nil {
		return err
	}
	return b.remember("after a rotation", b.containers)
}

func (b *bench) removeAll(ctx context.Context, ids chan string) error {
	say("removing them")
	close(ids)
	var group errgroup.Group
	group.SetLimit(removals)
	for id := range ids {
		group.Go(func() error { return b.remove(ctx, id) })
	}
	return group.Wait()
}

// measureRotation changes one of the secrets that all containers hold, and
// waits until the agent has rotated it in each. Until it sees the change the
// agent is idle but for its regular reads, which is measured too.
func (b *bench) measureRotation(ctx context.Context) error {
	say("rotating a secret of all of them; the agent reads it again within about a minute")
	ctx, cancel := context.WithTimeout(ctx, rotationPatience)
	defer cancel()
	offset := len(b.host.Log())
	begin, err := processorTime(b.host.AgentPID())
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.host.Vault.PutSecret(ctx, "kv", databaseSecret, map[string]any{"password": "second"}); err != nil {
		return err
	}
	fleet := Fleet{Containers: b.containers}
	for {
		used, err := processorTime(b.host.AgentPID())
		if err != nil {
			return err
		}
		elapsed := time.Since(began)
		times, err := rotations(b.host.Log()[offset:])
		if err != nil {
			return err
		}
		if len(times) == 0 {
			fleet.IdleSeconds = elapsed.Seconds()
			fleet.IdleProcessorPercent = 100 * (used - begin).Seconds() / elapsed.Seconds()
		}
		if len(times) >= b.containers {
			fleet.RotationMS = milliseconds(times[b.containers-1].Sub(times[0]))
			b.results.Fleet = fleet
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for %d rotations, of which %d are done: %w", b.containers, len(times), err)
		}
	}
}

// rotations are the times at which the agent said that it has rotated the
// secrets of a container. A line that is still being written is left out.
func rotations(log string) (times []time.Time, err error) {
	for line := range strings.Lines(log) {
		if !strings.Contains(line, rotationMessage) || !strings.HasSuffix(line, "\n") {
			continue
		}
		var said struct {
			Time    time.Time `json:"time"`
			Message string    `json:"msg"`
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			return nil, fmt.Errorf("read the agent's log: %w in %q", err, line)
		}
		if said.Message == rotationMessage {
			times = append(times, said.Time)
		}
	}
	return times, nil
}

// processorTime is what a process has used of all processors, in user and
// kernel mode together.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the agent's processor time: %w", err)
	}
	return parseProcessorTime(stat)
}

// parseProcessorTime reads utime and stime, fields 14 and 15 of proc(5)'s
// stat. They count ticks of USER_HZ, which is 100 to every program on Linux.
func parseProcessorTime(stat []byte) (time.Duration, error) {
	const tick = time.Second / 100
	var user, kernel int64
	// The name, field 2, may contain anything; what follows its last ) is field 3.
	rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(rest) < 13 {
		return 0, fmt.Errorf("read a process's processor time: %d fields after its name", len(rest))
	}
	if _, err := fmt.Sscan(rest[11]+" "+rest[12], &user, &kernel); err != nil {
		return 0, fmt.Errorf("read a process's processor time: %w", err)
	}
	return time.Duration(user+kernel) * tick, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
