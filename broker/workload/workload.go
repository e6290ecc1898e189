// Package workload says what a container is.
//
// The engine and the gate report Facts. Attest turns them into Selectors: the
// attested facts that grants are written in. ParseLabels turns the container's
// quaymaster labels into Wants: what the container asks for, in which format,
// and what is done when that changes. A want is only a wish, even where its ref
// names selectors; policy decides on each, so what an image says of itself is
// never enough to get a secret.
package workload

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Facts is what is known of a container before anything is decided.
type Facts struct {
	ID      string // the engine's full ID
	Name    string // without the leading slash
	Image   string // the reference it was created with
	ImageID string
	// Labels are all labels of the container. The engine merges those of the
	// image into them when the container is created.
	Labels map[string]string
	// ImageLabels are the labels that the image brings along.
	ImageLabels map[string]string
	// User is the process user as the container numbers it; nil where only the
	// gate that it passed knew it.
	User *User
	// Node is the host name of the swarm's node that a task runs on; empty for
	// what is no task.
	Node string
	// Volumes are the volumes that the container mounts.
	Volumes []Volume
}

// Volume is one that a container mounts.
type Volume struct {
	Name, Driver string
	Target       string // in the container
	// MountID is what the engine gave the agent's own driver to mount it for
	// this run; empty while it is not mounted, and for other drivers.
	MountID string
}

// User is a process's user and group as the container numbers them.
type User struct{ UID, GID uint32 }

// Selectors are attested facts by selector key, as in compose.service or
// label.environment.
type Selectors map[string]string

// The labels in which other tools say what a container is.
const (
	labelComposeProject = "com.docker.compose.project"
	labelComposeService = "com.docker.compose.service"
	LabelSwarmService   = "com.docker.swarm.service.name"
)

// The selectors of one workload, and the two families of selectors.
const (
	SelectorName           = "name"
	SelectorUser           = "user"
	SelectorImageRef       = "image.ref"
	SelectorComposeProject = "compose.project"
	SelectorComposeService = "compose.service"
	SelectorSwarmService   = "swarm.service"
	SelectorSwarmNode      = "swarm.node"
	LabelPrefix            = "label."
	ImageLabelPrefix       = "image.label."
)

// single are the selectors that a ref may name and that are no family.
var single = []string{SelectorComposeProject, SelectorComposeService, SelectorImageRef, SelectorName, SelectorSwarmNode, SelectorSwarmService}

// nameable reports whether a ref may name the selector.
func nameable(key string) bool {
	for _, family := range []string{LabelPrefix, ImageLabelPrefix} {
		if name, found := strings.CutPrefix(key, family); found && name != "" {
			return true
		}
	}
	return slices.Contains(single, key)
}

// Attest turns facts into selectors. A label counts as the container's own
// only when the image does not bring the same label with the same value along:
// who can build an image must not be able to choose a workload's identity.
func Attest(facts Facts) Selectors {
	selectors := Selectors{
		SelectorName:     facts.Name,
		SelectorImageRef: facts.Image,
	}
	if facts.User != nil {
		selectors[SelectorUser] = strconv.FormatUint(uint64(facts.User.UID), 10)
	}
	if facts.Node != "" {
		selectors[SelectorSwarmNode] = facts.Node
	}
	for key, value := range facts.ImageLabels {
		selectors[ImageLabelPrefix+key] = value
	}
	for key, value := range facts.Labels {
		if fromImage, found := facts.ImageLabels[key]; found && fromImage == value {
			continue
		}
		selectors[LabelPrefix+key] = value
		switch key {
		case labelComposeProject:
			selectors[SelectorComposeProject] = value
		case labelComposeService:
			selectors[SelectorComposeService] = value
		case LabelSwarmService:
			selectors[SelectorSwarmService] = value
		}
	}
	return selectors
}

// String lists the selectors for people, sorted, without the labels that
// tools add by the dozen.
func (s Selectors) String() string {
	var shown []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if strings.HasPrefix(key, LabelPrefix+"com.docker.") || strings.HasPrefix(key, LabelPrefix+Prefix) ||
			strings.HasPrefix(key, ImageLabelPrefix) || s[key] == "" {
			continue
		}
		shown = append(shown, key+"="+s[key])
	}
	return strings.Join(shown, " ")
}
