//go:build engines

package gates_test

import (
	"context"
	"fmt"
	"maps"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/quaymaster/quaymaster/inject/cdi"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
)

// The profiles of every world: what the shop may have, and what it may not.
const (
	profile = "shop-db"
	denied  = "other-db"
)

const profiles = `
profiles:
  ` + profile + `: {secrets: {password: "vault:kv/shop/db#password", legacy: "vault:kv1/shop/legacy"}}
  ` + denied + `: {secrets: {password: "vault:kv/other/db#password"}}
`

// way is how containers are led to a gate.
type way struct {
	name string
	// in says whether an engine has it; nil: all have.
	in func(e *engine.Engine) bool
	// labels ask for what a profile gives; nil: the profile is named.
	labels map[string]map[string]string
	// lead adds to a container's settings what leads it to the gate.
	lead func(w *world, h *container.HostConfig, profile string)
	// check says what is wrong with a report.
	check func(engine.Report) error
}

// twoFiles asks for what the profiles give.
var twoFiles = map[string]map[string]string{
	profile: shop.Labels("quaymaster.secret.password", "vault:kv/shop/db#password", "quaymaster.secret.legacy", "vault:kv1/shop/legacy"),
	denied:  shop.Labels("quaymaster.secret.password", "vault:kv/other/db#password"),
}

// The ways. A volume that is named on the command line has no options, so that
// the labels of its container say; all containers of the shop share one that
// has a profile, as the replicas of a Compose service do.
var (
	byRuntime = way{
		name: "runtime", check: shop.CheckThree,
		labels: map[string]map[string]string{profile: shop.Three(), denied: twoFiles[denied]},
		lead:   func(_ *world, h *container.HostConfig, _ string) { h.Runtime = host.Runtime },
	}
	byVolume = way{
		name: "volume", check: shop.CheckFiles,
		lead: func(w *world, h *container.HostConfig, profile string) {
			h.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: profile, Target: "/run/secrets", VolumeOptions: &mount.VolumeOptions{
				DriverConfig: &mount.Driver{Name: w.Plugin(), Options: map[string]string{"profile": profile}}}}}
		},
	}
	byLabelledVolume = way{
		name: "volume, labels", check: shop.CheckFiles, labels: twoFiles,
		lead: func(w *world, h *container.HostConfig, profile string) {
			h.Binds, h.VolumeDriver = []string{fmt.Sprintf("%s-labels-%d:/run/secrets", profile, w.volumes.Add(1))}, w.Plugin()
		},
	}
	byDevice = way{
		name: "cdi", in: (*engine.Engine).HasCDI, check: shop.CheckFiles,
		lead: func(_ *world, h *container.HostConfig, profile string) {
			h.DeviceRequests = []container.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{cdi.Kind + "=" + profile}}}
		},
	}
)

// ways are all of them.
var ways = []way{byRuntime, byVolume, byLabelledVolume, byDevice}

// container is one of the shop, led this way, that runs the probe.
func (y way) container(w *world, mode, profile string) (*container.Config, *container.HostConfig) {
	config, hostConfig := shop.Probe(mode, maps.Clone(y.labels[profile])), &container.HostConfig{}
	if config.Labels == nil {
		config.Labels = shop.Labels()
	}
	y.lead(w, hostConfig, profile)
	return config, hostConfig
}

// offered says whether a world's engine has this way.
func (y way) offered(w *world) bool { return y.in == nil || y.in(w.Engine) }

// create is docker create.
func (w *world) create(ctx context.Context, config *container.Config, hostConfig *container.HostConfig) (id string, err error) {
	created, err := w.Engine.Client().ContainerCreate(ctx, config, hostConfig, nil, nil, "")
	return created.ID, err
}

// start is docker start.
func (w *world) start(ctx context.Context, id string) error {
	return w.Engine.Client().ContainerStart(ctx, id, container.StartOptions{})
}
