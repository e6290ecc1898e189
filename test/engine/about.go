package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/system"
)

// About is what an Engine says of itself.
type About struct {
	// Versions of dockerd, its API, and what it starts.
	Engine     string `json:"engine"`
	API        string `json:"api"`
	Containerd string `json:"containerd"`
	Runc       string `json:"runc"`
	// Storage is the driver of the containers' layers.
	Storage string `json:"storage"`
	// ContainerdImages says that containerd keeps the images and layers, and
	// not dockerd.
	ContainerdImages bool   `json:"containerd_images"`
	CgroupVersion    string `json:"cgroup_version"`
	LiveRestore      bool   `json:"live_restore"`
	UsernsRemap      bool   `json:"userns_remap"`
}

// String is one line for people.
func (a About) String() string {
	images := "images in dockerd"
	if a.ContainerdImages {
		images = "images in containerd"
	}
	return fmt.Sprintf("Docker Engine %s (API %s), containerd %s, runc %s, %s, %s, cgroups v%s",
		a.Engine, a.API, a.Containerd, a.Runc, a.Storage, images, a.CgroupVersion)
}

// About asks the Engine what it is.
func (e *Engine) About(ctx context.Context) (About, error) {
	info, err := e.client.Info(ctx)
	if err != nil {
		return About{}, fmt.Errorf("ask the engine about itself: %w", err)
	}
	version, err := e.client.ServerVersion(ctx)
	if err != nil {
		return About{}, fmt.Errorf("ask the engine for its versions: %w", err)
	}
	a := About{
		Engine: version.Version, API: version.APIVersion, Storage: info.Driver, ContainerdImages: containerdImages(info),
		CgroupVersion: info.CgroupVersion, LiveRestore: info.LiveRestoreEnabled,
		UsernsRemap: slices.Contains(info.SecurityOptions, "name=userns"),
	}
	for _, c := range version.Components {
		switch c.Name {
		case "containerd":
			a.Containerd = c.Version
		case "runc":
			a.Runc = c.Version
		}
	}
	return a, nil
}

// containerdImages tells the two kinds of storage apart: a driver of
// containerd's says its plugin type, io.containerd.snapshotter.v1.
func containerdImages(info system.Info) bool {
	return slices.ContainsFunc(info.DriverStatus, func(status [2]string) bool {
		return status[0] == "driver-type" && strings.HasPrefix(status[1], "io.containerd.snapshotter.")
	})
}
