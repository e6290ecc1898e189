package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// A start differs from the next by more than what the gate takes. So the gate
// is measured by itself, too: its calls as the engine makes them, but with a
// runtime behind it that does nothing, beside that runtime alone. What is left
// out is what runc does for the mount that the gate adds.
const (
	gateRounds = 300
	gateWarmUp = 10
	nothing    = "/bin/true"
	bundles    = "/run/bench" // in memory, as the engine's are
	gateLog    = bundles + "/log.json"
)

// gateCall is one call that the engine makes before a container's first
// instruction.
type gateCall struct {
	name    string
	program string
	id      string
	bundle  *bundle // of a create; a start reads none
	changes bool    // whether the gate changes the bundle

	direct, gate []time.Duration
}

// bundle is an OCI bundle as the engine has made it.
type bundle struct{ dir, config string }

func (b *bundle) write() error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("make a bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "config.json"), []byte(b.config), 0o644); err != nil {
		return fmt.Errorf("make a bundle: %w", err)
	}
	return nil
}

func (b *bench) measureGate(ctx context.Context) (err error) {
	say("measuring the gate by itself")
	running, err := b.create(ctx, plain, "none", "hold")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(ctx, running)) }()
	if err := b.host.Engine.Client().ContainerStart(ctx, running, container.StartOptions{}); err != nil {
		return fmt.Errorf("start a container: %w", err)
	}
	labelled, err := b.create(ctx, way{runtime: host.Runtime, labelled: true}, "none", "hold")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(ctx, labelled)) }()
	calls, err := b.gateCalls(running, labelled)
	if err != nil {
		return err
	}
	order := rand.New(rand.NewPCG(2, 0))
	for round := range gateWarmUp + gateRounds {
		for _, i := range order.Perm(len(calls)) {
			if err := calls[i].measure(ctx, round >= gateWarmUp); err != nil {
				return err
			}
		}
	}
	for three := range slices.Chunk(calls, 3) {
		unlabelled, labelled, start := three[0], three[1], three[2]
		for _, c := range []*gateCall{unlabelled, labelled, start, unlabelled.with(start), labelled.with(start)} {
			b.results.Gate = append(b.results.Gate,
				Call{Call: c.name, Direct: spread(c.direct), Gate: spread(c.gate), Added: difference(c.gate, c.direct)})
		}
	}
	return nil
}

// with is a create and its start together.
func (c *gateCall) with(start *gateCall) *gateCall {
	both := &gateCall{name: strings.Replace(c.name, "create", "both calls", 1)}
	for i := range c.direct {
		both.direct = append(both.direct, c.direct[i]+start.direct[i])
		both.gate = append(both.gate, c.gate[i]+start.gate[i])
	}
	return both
}

// gateCalls makes the calls of one start of both containers, three for each
// way to enter the gate: create, create of the labelled one, and start. The bundle of the
// labelled one, which never ran, is that of the other under its ID.
func (b *bench) gateCalls(running, labelled string) (calls []*gateCall, err error) {
	found, _ := filepath.Glob(filepath.Join(b.host.Engine.ExecRoot(), "containerd/*/moby", running, "config.json")) // a constant pattern cannot be bad
	if len(found) != 1 {
		return nil, fmt.Errorf("container %.12s has %d bundles below the engine's exec-root, want one", running, len(found))
	}
	config, err := os.ReadFile(found[0])
	if err != nil {
		return nil, fmt.Errorf("read a bundle: %w", err)
	}
	programs, err := host.Binaries()
	if err != nil {
		return nil, err
	}
	bundleOf := func(id string) *bundle {
		return &bundle{dir: filepath.Join(bundles, id), config: strings.ReplaceAll(string(config), running, id)}
	}
	script := filepath.Join(b.host.Engine.DataRoot(), "runtimes", runtimeWithArguments) // the engine has written it
	for _, entry := range []struct{ program, suffix string }{
		{filepath.Join(programs, "quaymaster-runtime"), ""}, {script, ", with arguments"},
	} {
		calls = append(calls,
			&gateCall{name: "create, unlabelled" + entry.suffix, program: entry.program, id: running, bundle: bundleOf(running)},
			&gateCall{name: "create, labelled" + entry.suffix, program: entry.program, id: labelled, bundle: bundleOf(labelled), changes: true},
			&gateCall{name: "start" + entry.suffix, program: entry.program, id: running})
	}
	return calls, nil
}

// arguments are those that containerd's shim makes the call with.
func (c *gateCall) arguments() []string {
	arguments := []string{"--root", bundles + "/root", "--log", gateLog, "--log-format", "json"}
	if c.bundle == nil {
		return append(arguments, "start", c.id)
	}
	return append(arguments, "create", "--bundle", c.bundle.dir, c.id)
}

// measure makes the call once directly and once through the gate.
func (c *gateCall) measure(ctx context.Context, counts bool) error {
	if c.bundle != nil {
		if err := c.bundle.write(); err != nil {
			return err
		}
	}
	direct, err := timed(ctx, nothing, c.arguments())
	if err != nil {
		return err
	}
	gate, err := timed(ctx, c.program, append([]string{"--quaymaster-runc", nothing}, c.arguments()...))
	if err != nil {
		said, _ := os.ReadFile(gateLog) // where the gate says why
		return fmt.Errorf("%s: %w: %s", c.name, err, said)
	}
	if counts {
		c.direct, c.gate = append(c.direct, direct), append(c.gate, gate)
	}
	return c.check()
}

// check reports when the gate did not do to the bundle what it should.
func (c *gateCall) check() error {
	if c.bundle == nil {
		return nil
	}
	after, err := os.ReadFile(filepath.Join(c.bundle.dir, "config.json"))
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	if changed := string(after) != c.bundle.config; changed != c.changes {
		return fmt.Errorf("%s: the bundle was changed: %t, want %t", c.name, changed, c.changes)
	}
	return nil
}

// timed runs a program to its end and says how long that took.
func timed(ctx context.Context, program string, arguments []string) (time.Duration, error) {
	command := exec.CommandContext(ctx, program, arguments...)
	begin := engine.Monotonic()
	if err := command.Run(); err != nil {
		return 0, fmt.Errorf("run %s: %w", program, err)
	}
	return engine.Monotonic() - begin, nil
}
