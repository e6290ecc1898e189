package workload

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LabelProfile chooses a profile for a container that comes through the
// runtime gate. Beside it the container's other labels add to the profile.
const LabelProfile = Prefix + "profile"

// Profiles are the host's named sets of labels, by name: what a container
// wants, said once on the host instead of in each compose file.
type Profiles map[string]map[string]string

// Merge returns the labels of a container with those of a profile.
//
// A gate that was given the name of a profile says it, and then only the
// profile counts of all that is meant for the agent: the container's own
// labels say what the runtime gate gives. Where profile is empty, the label
// LabelProfile may choose one; there the container's own label goes before the
// profile's of the same key. Labels that are not meant for the agent are
// always kept.
//
// What a container is must be attested from its own labels, not from these.
func (p Profiles) Merge(labels map[string]string, profile string) (map[string]string, error) {
	merged, _, err := p.merge(labels, profile)
	return merged, err
}

// Parse is ParseLabels for the labels that Merge returns. Its errors tell what
// the container's labels say from what the profile does.
func (p Profiles) Parse(labels map[string]string, profile string, selectors Selectors) (Wants, error) {
	merged, from, err := p.merge(labels, profile)
	if err != nil {
		return Wants{}, err
	}
	r := parse(merged, selectors.expand)
	return r.wants, r.problem(from)
}

// merge returns the merged labels, and which of them came from a profile.
func (p Profiles) merge(labels map[string]string, profile string) (map[string]string, origin, error) {
	merged, from := maps.Clone(labels), origin{profile: profile}
	chosen, byLabel := labels[LabelProfile]
	switch {
	case profile != "":
		maps.DeleteFunc(merged, func(key, _ string) bool { return strings.HasPrefix(key, Prefix) })
	case !byLabel:
		return merged, from, nil
	default:
		from.profile = strings.TrimSpace(chosen)
	}
	theirs, known := p[from.profile]
	if !known {
		err := p.unknown(from.profile)
		if profile == "" {
			err = fmt.Errorf("label %s: %w", LabelProfile, err)
		}
		return nil, origin{}, err
	}
	if merged == nil {
		merged = map[string]string{}
	}
	from.keys = map[string]bool{}
	for key, value := range theirs {
		if _, own := merged[key]; !own {
			merged[key], from.keys[key] = value, true
		}
	}
	return merged, from, nil
}

// ErrNoProfile says that the host has no profile of that name.
var ErrNoProfile = errors.New("there is no such profile on this host")

func (p Profiles) unknown(name string) error {
	there := "none is configured: add it under profiles in the host's configuration"
	if len(p) > 0 {
		there = "there are " + strings.Join(slices.Sorted(maps.Keys(p)), ", ") + ", as the host's configuration says under profiles"
	}
	return fmt.Errorf("profile %q: %w; %s", name, ErrNoProfile, there)
}

// origin says which labels a profile brought.
type origin struct {
	profile string
	keys    map[string]bool
}

// profileKeys are the keys of a profile whose names are not those of labels.
var profileKeys = map[string]string{"secret": "secrets", "on-rotate": "on_rotate"}

// name returns what the author of a label or of a profile calls it.
func (o origin) name(label string) string {
	if !o.keys[label] {
		return "label " + label
	}
	key, rest, named := strings.Cut(strings.TrimPrefix(label, Prefix), ".")
	if inProfile, other := profileKeys[key]; other {
		key = inProfile
	}
	if named {
		key += "." + rest
	}
	return fmt.Sprintf("profile %s: %s", o.profile, key)
}

// CheckLabels judges labels by themselves: it returns, by label, what is wrong
// with them whatever the container is that they will be read for, and by ""
// what is wrong with the whole.
func CheckLabels(labels map[string]string) map[string]error {
	r, wrong := parse(labels, expandAny), map[string]error{}
	for _, p := range r.problems {
		wrong[p.label] = errors.Join(wrong[p.label], p.err)
	}
	return wrong
}
