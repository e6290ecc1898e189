package vaultsim

import (
	"slices"
	"strings"
)

// allowed reports whether one of policies allows path. An unknown policy
// allows nothing.
func (v *Vault) allowed(policies []string, path string) bool {
	for _, name := range policies {
		if name == "root" || slices.ContainsFunc(v.policies[name], func(pattern string) bool { return matches(pattern, path) }) {
			return true
		}
	}
	return false
}

// allowedBelow reports whether one of policies allows any path below a mount.
func (v *Vault) allowedBelow(policies []string, mountPath string) bool {
	for _, name := range policies {
		if name == "root" || slices.ContainsFunc(v.policies[name], func(pattern string) bool { return touches(pattern, mountPath) }) {
			return true
		}
	}
	return false
}

// matches compares segment by segment: + is any one segment, and * at the end
// of the pattern is any rest.
func matches(pattern, path string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	wants, has := strings.Split(prefix, "/"), strings.Split(path, "/")
	if len(has) < len(wants) || (!open && len(has) != len(wants)) {
		return false
	}
	for i, want := range wants {
		last := open && i == len(wants)-1
		if want != "+" && want != has[i] && (!last || !strings.HasPrefix(has[i], want)) {
			return false
		}
	}
	return true
}

// touches reports whether pattern can match a path that begins with prefix.
func touches(pattern, prefix string) bool {
	literal, open := strings.CutSuffix(pattern, "*")
	if open && strings.HasPrefix(prefix, literal) {
		return true
	}
	wants := strings.Split(literal, "/")
	for i, segment := range strings.Split(strings.TrimSuffix(prefix, "/"), "/") {
		if i >= len(wants) || (wants[i] != "+" && wants[i] != segment) {
			return false
		}
	}
	return true
}
