package workload

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The keys of the labels on a swarm's secret: there the name is the secret's
// own, so the keys end in none.
const (
	labelSwarmRef      = Prefix + "ref"
	labelSwarmFormat   = Prefix + "format"
	labelSwarmPassword = Prefix + "password"
)

// inContainer says which label of a container means the same, less the name.
var inContainer = map[string]string{labelSwarmRef: labelSecret, labelSwarmFormat: labelFormat, labelSwarmPassword: labelPassword}

// ParseSecretLabels reads the labels on the swarm's secret of that name;
// selectors are what has been attested of the task that wants it. The want is
// a file. A swarm's secret is one, so of a keystore it is the keystore without
// its truststore. The error lists every label that is wrong, and why.
func ParseSecretLabels(name string, labels map[string]string, selectors Selectors) (Want, error) {
	var problems []error
	asContainer := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		prefix, known := inContainer[key]
		switch {
		case known:
			asContainer[prefix+name] = labels[key]
		case strings.HasPrefix(key, Prefix):
			problems = append(problems, fmt.Errorf("label %s: unknown key; the keys on a swarm's secret are %s, %s and %s",
				key, labelSwarmRef, labelSwarmFormat, labelSwarmPassword))
		}
	}
	if _, given := labels[labelSwarmRef]; !given {
		return Want{}, errors.Join(append(problems, fmt.Errorf("label %s is missing: it names the secret, as in vault:kv/shop/db#password", labelSwarmRef))...)
	}
	r := parse(asContainer, selectors.expand)
	for _, p := range r.problems {
		problems = append(problems, fmt.Errorf("label %s: %w", onSecret(p.label, name), p.err))
	}
	if len(problems) > 0 {
		return Want{}, errors.Join(problems...)
	}
	want := r.wants.Items[0]
	if want.Format.Kind == FormatPEM {
		return Want{}, fmt.Errorf("label %s: %s makes several files, and a swarm's secret is one: use a keystore or a template", labelSwarmFormat, FormatPEM)
	}
	return want, nil
}

// onSecret returns the key on a swarm's secret that means what label does.
func onSecret(label, name string) string {
	for key, prefix := range inContainer {
		if label == prefix+name {
			return key
		}
	}
	return label
}

// ServiceStrategy says what the labels on a swarm's service want done after a
// change of a secret that its tasks were given: whether the service is to be
// updated, which replaces its tasks as its update_config says.
func ServiceStrategy(labels map[string]string) (update bool, err error) {
	switch text, given := labels[labelOnRotate]; strings.TrimSpace(text) {
	case "update":
		return true, nil
	case "none":
		return false, nil
	default:
		if !given {
			return false, nil
		}
		return false, fmt.Errorf("label %s of the service: %q is neither none nor update; signal:<SIG> and restart are for a container's own label", labelOnRotate, text)
	}
}
