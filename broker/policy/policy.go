// Package policy decides which workload may have which secret.
//
// It denies by default. A grant names workloads by their selectors and secrets
// by patterns; a workload may have a secret when some grant matches both. The
// package is pure: no I/O, no state but the grants. Every decision carries its
// reason, because the person who reads it has a container that does not start.
package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// Grant gives the workloads that match every selector the secrets that match
// any pattern.
type Grant struct {
	Name      string
	Workloads map[string]string // selector key → value, in which * and ** are wildcards
	Secrets   []secret.Pattern
	Login     Login
	BootCache bool // its secrets may be kept, encrypted, for a boot at which no provider answers
}

// Login is as whom the secrets of a grant are read where their provider can
// read in a container's own name. The zero Login is the host's.
type Login struct {
	Role     string   // to log in as; empty: the host's
	Policies []string // all that the login may do; empty: all that the role may
}

// IsZero reports whether secrets are read as the host.
func (l Login) IsZero() bool { return l.Role == "" && len(l.Policies) == 0 }

// Policy is a set of grants. It may be used by several goroutines.
type Policy struct {
	grants []compiled
}

type compiled struct {
	Grant
	selectors map[string]secret.Glob
	keys      []string // sorted, so that reasons are the same every time
}

// Decision is what policy says of one workload and one ref.
type Decision struct {
	Allowed bool
	Grant   string // the grant that allowed it
	Login   Login  // that of the grant
	// BootCache says that the value may be kept, encrypted, for a boot at which
	// its provider does not answer.
	BootCache bool
	Reason    string // which rule said so, for people
}

// New returns the policy of these grants.
func New(grants []Grant) *Policy {
	p := &Policy{}
	for _, g := range grants {
		c := compiled{Grant: g, selectors: map[string]secret.Glob{}, keys: slices.Sorted(maps.Keys(g.Workloads))}
		for key, value := range g.Workloads {
			c.selectors[key] = secret.NewGlob(value)
		}
		p.grants = append(p.grants, c)
	}
	return p
}

// Decide says whether a workload with these selectors may have ref.
func (p *Policy) Decide(selectors workload.Selectors, ref secret.Ref) Decision {
	var forWorkload, forRef []compiled
	for _, g := range p.grants {
		workloadMatches, refMatches := g.mismatch(selectors) == "", g.lists(ref)
		if workloadMatches && refMatches {
			return Decision{Allowed: true, Grant: g.Name, Login: g.Login, BootCache: g.BootCache, Reason: fmt.Sprintf("grant %q gives it", g.Name)}
		}
		if workloadMatches {
			forWorkload = append(forWorkload, g)
		}
		if refMatches {
			forRef = append(forRef, g)
		}
	}
	return Decision{Reason: explain(selectors, forWorkload, forRef)}
}

// explain says what is nearest to a grant that would have matched.
func explain(selectors workload.Selectors, forWorkload, forRef []compiled) string {
	switch {
	case len(forRef) > 0:
		var misses []string
		for _, g := range forRef {
			misses = append(misses, fmt.Sprintf("grant %q lists it, but %s", g.Name, g.mismatch(selectors)))
		}
		return strings.Join(misses, "; ")
	case len(forWorkload) > 0:
		var names []string
		for _, g := range forWorkload {
			names = append(names, fmt.Sprintf("%q", g.Name))
		}
		return fmt.Sprintf("no grant of this container lists it (grants that match the container: %s)", strings.Join(names, ", "))
	default:
		return fmt.Sprintf("no grant matches this container (%s) and none lists this ref", selectors)
	}
}

// mismatch says which selector of the grant the workload does not meet; empty
// when it meets all of them.
func (c compiled) mismatch(selectors workload.Selectors) string {
	for _, key := range c.keys {
		value, found := selectors[key]
		if found && c.selectors[key].Match(value) {
			continue
		}
		wanted := fmt.Sprintf("it is for %s=%s", key, c.Workloads[key])
		if found {
			return fmt.Sprintf("%s and this container has %s=%s", wanted, key, value)
		}
		if label, isLabel := strings.CutPrefix(key, workload.LabelPrefix); isLabel {
			if _, fromImage := selectors[workload.ImageLabelPrefix+label]; fromImage {
				return fmt.Sprintf("%s, and that label comes from the image, which does not count: set it when the container is created", wanted)
			}
		}
		return fmt.Sprintf("%s and this container has no %s", wanted, key)
	}
	return ""
}

func (c compiled) lists(ref secret.Ref) bool {
	return slices.ContainsFunc(c.Secrets, func(p secret.Pattern) bool { return p.Match(ref) })
}
