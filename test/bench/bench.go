package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// image is the probe by a name of somebody else: a container that mentions
// quaymaster. anywhere is asked about, and an ordinary one is not.
const image = "bench/probe"

// settings are those of an operator who changed nothing but the form of the
// log, whose times are exact only as JSON.
const settings = `
log: {format: json}
grants:
  - name: shop
    workloads: {label.app: shop}
    secrets: ["vault:kv/shop/**"]
`

// The secrets of a labelled container: two files and a variable.
const (
	databaseSecret = "shop/db"
	tokenSecret    = "shop/token"
	cacheSecret    = "shop/cache"
)

var labels = map[string]string{
	"app":                              "shop",
	"quaymaster.secret.db-password":    "vault:kv/" + databaseSecret + "#password",
	"quaymaster.secret.token":          "vault:kv/" + tokenSecret,
	"quaymaster.env.CACHE_PASSWORD":    "vault:kv/" + cacheSecret + "#password",
	"org.opencontainers.image.version": "1.0", // as ordinary containers have, too
}

// bench is a host that is being measured.
type bench struct {
	options
	host    *host.Host
	results Results
}

// measure brings up a host, measures everything on it and removes it.
func measure(ctx context.Context, o options) (_ Results, err error) {
	say("starting a private engine and the agent")
	b := &bench{options: o, results: Results{Date: time.Now().UTC().Truncate(time.Second), Rounds: o.rounds, WarmUpRounds: o.warmUp, GateRounds: gateRounds}}
	vault, err := host.StartStandIn()
	if err != nil {
		return Results{}, err
	}
	b.host, err = host.Start(ctx, host.Options{Vault: vault, Run: defaultRun})
	if err != nil {
		return Results{}, err
	}
	defer func() { err = errors.Join(err, b.host.Remove(context.WithoutCancel(ctx))) }()
	for _, step := range []func(context.Context) error{
		b.install, b.describe, b.startAgent, b.measureStarts, b.measureGate, b.measureFleet, b.measureStartsWithoutAgent, b.describeEnd,
	} {
		if err := step(ctx); err != nil {
			return Results{}, err
		}
	}
	return b.results, nil
}

// install puts the secrets into Vault and the gate into the engine: once as an
// operator does, and once with an argument that says what is the default anyway.
func (b *bench) install(ctx context.Context) error {
	for _, name := range []string{databaseSecret, tokenSecret, cacheSecret} {
		if err := b.host.Vault.PutSecret(ctx, "kv", name, map[string]any{"password": "first"}); err != nil {
			return err
		}
	}
	if err := b.host.Engine.Client().ImageTag(ctx, engine.ProbeImage, image); err != nil {
		return fmt.Errorf("tag the probe: %w", err)
	}
	if err := b.host.Configure(settings); err != nil {
		return err
	}
	if _, err := b.host.Install(ctx); err != nil {
		return err
	}
	if err := b.addRuntimeWithArguments(); err != nil {
		return err
	}
	return b.host.Engine.Reload(ctx)
}

// addRuntimeWithArguments enters the gate a second time, with runtimeArgs.
func (b *bench) addRuntimeWithArguments() error {
	type entry struct {
		Path string   `json:"path"`
		Args []string `json:"runtimeArgs,omitempty"`
	}
	text, err := os.ReadFile(b.host.Engine.ConfigFile())
	if err != nil {
		return fmt.Errorf("read daemon.json: %w", err)
	}
	config := struct {
		Runtimes map[string]entry `json:"runtimes"`
	}{}
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read daemon.json: %w", err)
	}
	installed := config.Runtimes[host.Runtime]
	if installed.Path == "" || len(installed.Args) != 0 {
		return fmt.Errorf("the gate was entered as %+v, not without arguments", installed)
	}
	config.Runtimes[runtimeWithArguments] = entry{installed.Path, []string{"--quaymaster-run", defaultRun}}
	if text, err = json.Marshal(config); err != nil {
		return fmt.Errorf("encode daemon.json: %w", err)
	}
	if err := os.WriteFile(b.host.Engine.ConfigFile(), text, 0o644); err != nil {
		return fmt.Errorf("write daemon.json: %w", err)
	}
	return nil
}

func (b *bench) startAgent(ctx context.Context) error {
	if err := b.host.StartAgent(ctx); err != nil {
		return err
	}
	return b.remember("agent started, no container", 0)
}

// describe says what is measured, and on what.
func (b *bench) describe(ctx context.Context) (err error) {
	if b.results.Machine, err = describeMachine(ctx, b.host.Engine.Client()); err != nil {
		return err
	}
	if b.results.Version, _, err = b.host.Quaymaster(ctx, "--version"); err != nil {
		return err
	}
	b.results.Version = lastWord(b.results.Version)
	dir, err := host.Binaries()
	if err != nil {
		return err
	}
	for _, name := range []string{"quaymaster", "quaymaster-runtime"} {
		file, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("measure the size of a program: %w", err)
		}
		b.results.Binaries = append(b.results.Binaries, Binary{Name: name, Bytes: file.Size()})
	}
	return nil
}

// describeEnd says what else ran on the machine meanwhile.
func (b *bench) describeEnd(context.Context) (err error) {
	b.results.Machine.LoadAfter, err = load()
	return err
}

// remember takes down the agent's memory.
func (b *bench) remember(when string, containers int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.host.AgentPID()))
	if err != nil {
		return fmt.Errorf("read the agent's memory: %w", err)
	}
	resident, errResident := kibibytes(string(text), "VmRSS")
	peak, errPeak := kibibytes(string(text), "VmHWM")
	if err := cmp.Or(errResident, errPeak); err != nil {
		return fmt.Errorf("read the agent's memory: %w", err)
	}
	b.results.Memory = append(b.results.Memory, Memory{When: when, Containers: containers, ResidentKiB: resident, PeakKiB: peak})
	return nil
}
