package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// runtimeWithArguments is the gate with runtimeArgs in daemon.json.
const runtimeWithArguments = "quaymaster-arguments"

// way is one way to start a container.
type way struct {
	name     string
	runtime  string // empty: the engine's own
	labelled bool
}

// plain is what every other way is compared with.
var plain = way{name: "plain: the engine's own runc"}

// ways begins with plain twice: the second shows how far apart two series lie
// that are the same.
var ways = []way{
	plain,
	{"plain once more", "", false},
	{"gate, unlabelled", host.Runtime, false},
	{"gate, labelled: three secrets", host.Runtime, true},
	{"gate with arguments, unlabelled", runtimeWithArguments, false},
	{"gate with arguments, labelled", runtimeWithArguments, true},
}

// waysWithoutAgent must work while no agent runs.
var waysWithoutAgent = []way{plain, {"gate, unlabelled", host.Runtime, false}}

// series is one way to start a container in one network, measured again and again.
type series struct {
	way
	network string
	samples []time.Duration // one of each round
}

// measureStarts measures all ways while the agent runs. One labelled container
// runs all the while: what somebody holds, the agent keeps warm.
func (b *bench) measureStarts(ctx context.Context) (err error) {
	holder, err := b.launch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(ctx, holder)) }()
	if err := b.measureWays(ctx, "running", []string{"none", "bridge"}, ways); err != nil {
		return err
	}
	return b.remember(fmt.Sprintf("after %d rounds of starts", b.warmUp+b.rounds), 1)
}

func (b *bench) measureStartsWithoutAgent(ctx context.Context) error {
	if err := b.host.StopAgent(ctx); err != nil {
		return err
	}
	return b.measureWays(ctx, "stopped", []string{"bridge"}, waysWithoutAgent)
}

// measureWays measures the ways in each of the networks. In each round every one has
// its turn, in an order that is drawn anew: a start may pay for what the one
// before it left behind, and that must not always be the same.
func (b *bench) measureWays(ctx context.Context, agent string, networks []string, ways []way) error {
	var all []*series
	for _, network := range networks {
		for _, way := range ways {
			all = append(all, &series{way: way, network: network})
		}
	}
	order := rand.New(rand.NewPCG(1, uint64(len(all))))
	begin := time.Now()
	for round := range b.warmUp + b.rounds {
		for _, i := range order.Perm(len(all)) {
			latency, err := b.start(ctx, all[i].way, all[i].network)
			if err != nil {
				return fmt.Errorf("%s, network %s, agent %s: %w", all[i].name, all[i].network, agent, err)
			}
			if round >= b.warmUp {
				all[i].samples = append(all[i].samples, latency)
			}
		}
		b.progress(agent, round+1, begin)
	}
	b.results.Starts = append(b.results.Starts, compare(agent, all)...)
	return nil
}

// progress tells how far it is, now and then.
func (b *bench) progress(agent string, done int, begin time.Time) {
	total := b.warmUp + b.rounds
	if done%10 == 0 || done == total {
		left := time.Since(begin) / time.Duration(done) * time.Duration(total-done)
		say("starts while the agent is %s: round %d of %d, about %v left", agent, done, total, left.Round(time.Second))
	}
}

// start measures one start. The container is made before the clock runs, and
// removed after.
func (b *bench) start(ctx context.Context, w way, network string) (latency time.Duration, err error) {
	id, err := b.create(ctx, w, network, "once")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.remove(ctx, id)) }()
	begin := engine.Monotonic()
	if err := b.host.Engine.Client().ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return 0, fmt.Errorf("start a container: %w", err)
	}
	report, err := b.report(ctx, id)
	if err != nil {
		return 0, err
	}
	return report.T0 - begin, check(report, w)
}

// create makes a container of the probe; mode is the probe's.
func (b *bench) create(ctx context.Context, w way, network, mode string) (id string, err error) {
	config := &container.Config{Image: image, Cmd: []string{"/probe", "/run/secrets", mode}}
	if w.labelled {
		config.Labels = labels
	}
	hostConfig := &container.HostConfig{Runtime: w.runtime, NetworkMode: container.NetworkMode(network)}
	created, err := b.host.Engine.Client().ContainerCreate(ctx, config, hostConfig, nil, nil, "")
	if err != nil {
		return "", fmt.Errorf("create a container: %w", err)
	}
	return created.ID, nil
}

// launch starts a labelled container that stays.
func (b *bench) launch(ctx context.Context) (id string, err error) {
	if id, err = b.create(ctx, way{runtime: host.Runtime, labelled: true}, "none", "hold"); err != nil {
		return "", err
	}
	if err := b.host.Engine.Client().ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return "", errors.Join(fmt.Errorf("start a container: %w", err), b.remove(ctx, id))
	}
	return id, nil
}

// report waits until the container has ended and returns what it saw.
func (b *bench) report(ctx context.Context, id string) (engine.Report, error) {
	ended, failed := b.host.Engine.Client().ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case err := <-failed:
		return engine.Report{}, fmt.Errorf("wait for the end of a container: %w", err)
	case <-ended:
	}
	reports, err := b.host.Engine.Reports(ctx, id)
	if err != nil {
		return engine.Report{}, err
	}
	if len(reports) != 1 {
		return engine.Report{}, fmt.Errorf("the probe made %d reports instead of one", len(reports))
	}
	return reports[0], nil
}

// check reports when a container did not see what it should.
func check(r engine.Report, w way) error {
	_, variable := r.Env["CACHE_PASSWORD"]
	if want := map[bool]int{true: 2}[w.labelled]; len(r.Files) != want || variable != w.labelled {
		return fmt.Errorf("the first instruction saw %d files, want %d, and the variable: %t", len(r.Files), want, variable)
	}
	return nil
}

// remove removes a container, whatever ended the measurement.
func (b *bench) remove(ctx context.Context, id string) error {
	err := b.host.Engine.Client().ContainerRemove(context.WithoutCancel(ctx), id, container.RemoveOptions{Force: true})
	if err != nil {
		return fmt.Errorf("remove a container: %w", err)
	}
	return nil
}
