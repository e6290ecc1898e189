//go:build integration

// Package e2e_test tries the whole way of a secret as a user would: a real
// Docker Engine, a real Vault with its real aws auth method, and the two
// programs as they ship.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/realvault"
	"github.com/quaymaster/quaymaster/test/shop"
)

// plain is the configuration of most tests. Secrets are read again every
// second, so that a rotation is seen soon.
const plain = "refresh: 1s\ngate_timeout: 5s\n" + grants

// What the tests run is the shop's.
const (
	grants   = shop.Grants
	password = shop.Password
)

var labels, three, probe, checkThree = shop.Labels, shop.Three, shop.Probe, shop.CheckThree

// h is the host that tests share. They run one after the other.
var h *host.Host

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx := context.Background()
	var err error
	if h, err = start(ctx, engine.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := h.Remove(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

// start brings up a host with the runtime gate installed, the agent running and
// the secrets of the shop in Vault.
func start(ctx context.Context, o engine.Options) (*host.Host, error) {
	vault, err := host.StartRealVault(ctx, realvault.Options{TLS: true})
	if err != nil {
		return nil, err
	}
	h, err := host.Start(ctx, host.Options{Vault: vault, Engine: o})
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return shop.PutSecrets(ctx, h.Vault) },
		func() error { return h.Configure(plain) },
		func() error { _, err := h.Install(ctx); return err },
		func() error { return h.StartAgent(ctx) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("%w (and: %v)", err, h.Remove(ctx))
		}
	}
	return h, nil
}

// gated is a host configuration that passes the gate.
func gated() *container.HostConfig { return &container.HostConfig{Runtime: host.Runtime} }

// runProbe runs a container to its end and returns its first report.
func runProbe(t *testing.T, h *host.Host, config *container.Config, hostConfig *container.HostConfig) engine.Report {
	t.Helper()
	result, err := h.Engine.Run(t.Context(), config, hostConfig)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(h.Log()))
	}
	remove(t, h, result.ID)
	reports, err := engine.ParseReports(result.Stdout)
	if err != nil || len(reports) == 0 {
		t.Fatalf("%d reports, %v; stderr: %s", len(reports), err, result.Stderr)
	}
	return reports[0]
}

// refused starts a container that must not start, and returns what its user sees.
func refused(t *testing.T, h *host.Host, config *container.Config, hostConfig *container.HostConfig) string {
	t.Helper()
	id, err := h.Engine.Launch(t.Context(), config, hostConfig)
	if id != "" {
		remove(t, h, id)
	}
	if err == nil {
		t.Fatal("the container started")
	}
	return err.Error()
}

func remove(t *testing.T, h *host.Host, id string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := h.Engine.Client().ContainerRemove(ctx, id, container.RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, h *host.Host, what string, ready func() bool) {
	t.Helper()
	if err := h.Await(t.Context(), what, ready); err != nil {
		t.Fatal(err)
	}
}

// reconfigure restarts the agent with other settings for one test.
func reconfigure(t *testing.T, h *host.Host, more string) {
	t.Helper()
	restart := func(ctx context.Context, settings string) {
		if err := h.StopAgent(ctx); err != nil {
			t.Fatal(err)
		}
		if err := h.Configure(settings); err != nil {
			t.Fatal(err)
		}
		if err := h.StartAgent(ctx); err != nil {
			t.Fatal(err)
		}
	}
	restart(t.Context(), more)
	t.Cleanup(func() { restart(context.Background(), plain) })
}

func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// soon is a context for one request.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
