package docker

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// described is a container as the engine lists it: which of its labels its
// image brings along is still to be found out.
type described struct {
	workload.Facts
	image imageRef
}

// imageRef names the very image that a container was made of.
type imageRef struct {
	id string
	// manifest is one platform's part of an image that has several; nil where
	// the engine does not say it. With the classic image store the ID names
	// one platform's image already.
	manifest *ocispec.Descriptor
}

// key names the image's content.
func (i imageRef) key() string {
	if i.manifest == nil {
		return i.id
	}
	return i.id + "@" + i.manifest.Digest.String()
}

// list asks for one container without waiting for anything that happens to it.
func (e *Engine) list(ctx context.Context, id string) (described, bool, error) {
	found, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("id", id))})
	if err != nil {
		return described{}, false, fmt.Errorf("list container %s: %w", id, err)
	}
	for _, summary := range found { // the filter takes prefixes too
		if summary.ID == id {
			return describe(summary), true, nil
		}
	}
	return described{}, false, nil
}

func describe(s container.Summary) described {
	d := described{
		Facts: workload.Facts{ID: s.ID, Name: nameOf(s), Image: s.Image, ImageID: s.ImageID, Labels: s.Labels},
		image: imageRef{id: s.ImageID, manifest: s.ImageManifestDescriptor},
	}
	for _, m := range s.Mounts {
		if m.Type == mount.TypeVolume {
			d.Volumes = append(d.Volumes, workload.Volume{Name: m.Name, Driver: m.Driver, Target: m.Destination})
		}
	}
	return d
}

// nameOf leaves out the names that a legacy link adds, of the form /other/alias.
func nameOf(s container.Summary) (name string) {
	for _, n := range s.Names {
		if plain := strings.TrimPrefix(n, "/"); !strings.Contains(plain, "/") {
			name = plain
		}
	}
	return name
}

// untrusted says of all labels that the image brought them along, so that
// nothing is granted by them.
func untrusted(facts workload.Facts) workload.Facts {
	facts.ImageLabels = maps.Clone(facts.Labels)
	return facts
}

// mounts reports whether a container mounts a volume of a driver.
func mounts(facts workload.Facts, driver string) bool {
	for _, v := range facts.Volumes {
		if driver != "" && v.Driver == driver {
			return true
		}
	}
	return false
}
