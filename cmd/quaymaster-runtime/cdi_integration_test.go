//go:build integration && newest

package main

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/cdi"
	"github.com/quaymaster/quaymaster/inject/runtime/wire"
	real "github.com/quaymaster/quaymaster/test/engine"
)

func (d *docker) describe(t *testing.T, timeout time.Duration) {
	t.Helper()
	if err := cdi.Write(cdi.Options{Dir: d.devices, Hook: binary, Run: d.run, Timeout: timeout,
		Profiles: map[string]string{"shop": "/run/secrets", "rival": "/run/secrets"}}); err != nil {
		t.Fatal(err)
	}
}

// withDevices is docker run --device quaymaster.dev/secrets=NAME for each name.
func withDevices(names ...string) *container.HostConfig {
	host := &container.HostConfig{}
	for _, name := range names {
		host.DeviceRequests = append(host.DeviceRequests, container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{cdi.Kind + "=" + name}})
	}
	return host
}

// TestCDIGate: on the newest engine, without a setting for us, the first
// instruction of a container with a device reads its secret.
func TestCDIGate(t *testing.T) {
	for name, remapped := range map[string]bool{"plain": false, "userns-remap": true} {
		t.Run(name, func(t *testing.T) {
			d := newDocker(t, real.Options{Kind: real.Newest, UsernsRemap: remapped})
			d.describe(t, 20*time.Second)
			value := rand.Text()
			d.delivery.Store(&inject.Delivery{Source: d.tree(t, value), Target: "/run/secrets"})
			for name, more := range map[string]func(*container.Config, *container.HostConfig){
				"a tmpfs around it": func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/run": ""} },
				"plain":             func(*container.Config, *container.HostConfig) {},
				"read-only":         func(_ *container.Config, h *container.HostConfig) { h.ReadonlyRootfs = true },
				"nobody, and no capability": func(c *container.Config, h *container.HostConfig) {
					c.User, h.CapDrop, h.SecurityOpt = "65534", []string{"ALL"}, []string{"no-new-privileges"}
				},
				"through the runtime gate": func(c *container.Config, h *container.HostConfig) { h.Runtime = "quaymaster" },
			} {
				config, host := &container.Config{Image: real.ProbeImage}, withDevices("shop")
				more(config, host)
				result, err := d.Run(t.Context(), config, host)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				reports, err := real.ParseReports(result.Stdout)
				if err != nil || len(reports) != 1 {
					t.Fatalf("%s: %d reports, %v: %s", name, len(reports), err, result.Stderr)
				}
				if r := reports[0]; len(r.Files) != 1 || r.Files["password"].Fingerprint != real.Fingerprint([]byte(value)) || r.Writable {
					t.Errorf("%s: %+v", name, r)
				}
			}
		})
	}
}

// TestCDIGateFailsClosed: whatever goes wrong, the container does not start and
// whoever started it reads why; a second start, when all is well, succeeds.
func TestCDIGateFailsClosed(t *testing.T) {
	d := newDocker(t, real.Options{Kind: real.Newest})
	good := &inject.Delivery{Source: d.tree(t, "x"), Target: "/run/secrets"}
	d.delivery.Store(good)
	fails := func(want string, host *container.HostConfig) string {
		t.Helper()
		id, err := d.Launch(t.Context(), &container.Config{Image: real.ProbeImage}, host)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		return id
	}
	fails("unresolvable CDI devices quaymaster.dev/secrets=shop", withDevices("shop")) // before there is a file
	d.describe(t, 20*time.Second)
	fails("the path of one of its profiles is taken", withDevices("shop", "rival"))
	volume := withDevices("shop")
	volume.Binds = []string{"data:/run/secrets"}
	fails("the path of one of its profiles is taken", volume)
	d.delivery.Store(&inject.Delivery{Source: d.run + "/memory/none", Target: "/run/secrets"})
	fails(`mount the profile "shop" at /run/secrets`, withDevices("shop"))
	d.delivery.Store(good)
	d.stop()
	d.describe(t, 300*time.Millisecond)
	id := fails("has a device of the profile shop, and "+wire.NoAgent, withDevices("shop"))
	inspected, err := d.Client().ContainerInspect(t.Context(), id)
	if err != nil || !strings.Contains(inspected.State.Error, wire.NoAgent) || !strings.Contains(inspected.State.Error, "container "+inspected.Name[1:]) {
		t.Errorf("%v: the container's state says %q", err, inspected.State.Error)
	}
	d.open(t)
	if err := d.Client().ContainerStart(context.WithoutCancel(t.Context()), id, container.StartOptions{}); err != nil {
		t.Errorf("with an agent: %v", err)
	}
}
