package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

// containerFile is the part that matters of config.v2.json, which moby keeps
// beside a container's hosts file (moby daemon/container/container.go). The
// format is the engine's own and may change, so this is the last resort, and
// what is missing in it is an error.
type containerFile struct {
	ID     string
	Name   string
	Image  string // the image's ID
	Config *struct {
		Image  string // the reference
		Labels map[string]string
		User   string
	}
	ImageManifest *ocispec.Descriptor
	MountPoints   map[string]*struct {
		Type         mount.Type
		Name, Driver string
		ID           string // of the driver's Mount; empty while it is not mounted
	}
}

// readContainerFile learns from the engine's own file what the API does not
// say now: while the engine restores containers at its start, the API hangs.
func readContainerFile(engineDir, id string) (containerFile, error) {
	if engineDir == "" {
		return containerFile{}, errors.New("the engine's directory for the container is not known either")
	}
	var c containerFile
	file := filepath.Join(engineDir, "config.v2.json")
	if err := readEngineFile(file, &c); err != nil {
		return containerFile{}, err
	}
	if c.ID != id || c.Config == nil || c.Image == "" {
		return containerFile{}, fmt.Errorf("the engine's own file %s is not about container %s in a form that is known", file, id)
	}
	return c, nil
}

func readEngineFile(file string, into any) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the engine's own file: %w", err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("read the engine's own file %s: %w", file, err)
	}
	return nil
}

// described leaves the sources of volumes out: what the file says is of the
// container's last start.
func (c containerFile) described() described {
	d := described{
		Facts: workload.Facts{
			ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), Image: c.Config.Image, ImageID: c.Image, Labels: c.Config.Labels,
		},
		image: imageRef{id: c.Image, manifest: c.ImageManifest},
	}
	for target, m := range c.MountPoints {
		if m != nil && m.Type == mount.TypeVolume {
			d.Volumes = append(d.Volumes, workload.Volume{Name: m.Name, Driver: m.Driver, Target: target})
		}
	}
	return d
}

func (c containerFile) mounts(driver, volume string) bool {
	for _, m := range c.MountPoints {
		if m != nil && m.Driver == driver && m.Name == volume {
			return true
		}
	}
	return false
}

// owner is the user that the container was created for, as in 1000:1000; nil
// when that is a name, which means what the image says. A group that is not
// told, or told by name, counts as zero: the image may say otherwise, and a
// file's mode decides whether it matters.
func (c containerFile) owner() *inject.Owner {
	user, group, _ := strings.Cut(c.Config.User, ":")
	if user == "" {
		user = "0"
	}
	uid, err := strconv.ParseUint(user, 10, 32)
	if err != nil {
		return nil
	}
	gid, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		gid = 0
	}
	return &inject.Owner{UID: uint32(uid), GID: uint32(gid)}
}

// sharesUsers reports whether a container was created to use the host's user
// namespace on an engine that gives containers one of their own.
func sharesUsers(engineDir string) (bool, error) {
	var host struct{ UsernsMode string }
	err := readEngineFile(filepath.Join(engineDir, "hostconfig.json"), &host)
	return host.UsernsMode == "host", err
}
