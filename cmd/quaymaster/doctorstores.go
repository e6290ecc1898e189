package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// storeChecks look at each Vault and the login there, then at each store of a
// cloud.
func (d *doctor) storeChecks() (checks []check) {
	for _, name := range slices.Sorted(maps.Keys(d.sessions)) {
		s := d.sessions[name]
		checks = append(checks, check{"vault " + name, s.reached, s.vaultAnswers}, check{loginCheck + name, s.loggedIn, s.accepted})
	}
	clouds := d.config.Clouds()
	for _, name := range slices.Sorted(maps.Keys(clouds)) {
		checks = append(checks, check{"store " + name, nil, func(ctx context.Context) finding { return d.storeAnswers(ctx, name, clouds[name]) }})
	}
	return checks
}

// grantChecks look at each pattern of each grant.
func (d *doctor) grantChecks() (checks []check) {
	clouds := d.config.Clouds()
	for _, g := range d.config.Grants {
		for _, pattern := range g.Secrets {
			c := check{name: "grant " + g.Name}
			if s := d.sessions[pattern.Provider()]; s != nil {
				c.after, c.run = s.loggedIn, func(ctx context.Context) finding { return s.mayRead(ctx, g, pattern) }
			} else {
				c.run = func(ctx context.Context) finding { return d.cloudMayRead(ctx, clouds[pattern.Provider()], pattern) }
			}
			checks = append(checks, c)
		}
	}
	return checks
}

// probeName is asked for where a pattern stands for many secrets: nothing is
// called so, and a store says that only to those who may know.
const probeName = "quaymaster-doctor"

// probeOf is the ref that tells whether a cloud's store lets this host have what
// a pattern stands for. ok is false where the pattern does not even name a vault
// or a project.
func probeOf(pattern secret.Pattern, kind string) (ref secret.Ref, whole, ok bool) {
	ref, whole, err := asked(pattern)
	if err != nil {
		return ref, false, false
	}
	if !whole {
		ok = kind == config.TypeAWS || strings.Count(ref.Path, "/") > 0
		ref = secret.Ref{Provider: ref.Provider, Path: ref.Path + probeName}
	}
	return ref, whole, ok || whole
}

// storeAnswers asks a store of a cloud for one secret of a grant, whatever it
// answers about that.
func (d *doctor) storeAnswers(ctx context.Context, name string, settings config.Provider) finding {
	from, f := d.openStore(ctx, settings)
	if from == nil {
		return f
	}
	for _, g := range d.config.Grants {
		for _, pattern := range g.Secrets {
			ref, _, ok := probeOf(pattern, settings.Type)
			if pattern.Provider() != name || !ok {
				continue
			}
			got, err := from.Fetch(ctx, ref.Whole())
			got.Wipe()
			switch {
			case errors.Is(err, providers.ErrInvalid): // the store was not asked; the grant's line says why
				continue
			case errors.Is(err, providers.ErrUnavailable):
				return wrong("check the region or endpoint, the route and the packet filters on the way, and that the host's identity is what the store asks for", "%v", err)
			case errors.Is(err, providers.ErrDenied):
				return fine("it answers, and knows this host (it denies %s: see the grants)", ref)
			}
			return fine("it answers, and knows this host")
		}
	}
	return doubt("let a grant name a secret of it, or take the provider out", "no grant names a secret of it that could be asked for")
}

// openStore opens a store of a cloud, or says why not.
func (d *doctor) openStore(ctx context.Context, settings config.Provider) (providers.Provider, finding) {
	if d.host.foundErr != nil {
		return nil, doubt("see identity", "it was not looked at: this host has no identity")
	}
	from, err := openCloud(ctx, d.host.found.Cloud, d.config, settings)
	if err != nil {
		return nil, wrong("correct the provider's settings, or run this on a host of that cloud", "%v", err)
	}
	return from, finding{}
}

// cloudMayRead says whether one pattern of a grant can be had from a cloud's
// store.
func (d *doctor) cloudMayRead(ctx context.Context, settings config.Provider, pattern secret.Pattern) finding {
	from, f := d.openStore(ctx, settings)
	if from == nil {
		return f
	}
	ref, whole, ok := probeOf(pattern, settings.Type)
	if !ok {
		return doubt("try a secret that it stands for", "%s names too much to be asked about at once", pattern)
	}
	if whole {
		return tried(ctx, from, pattern, ref)
	}
	got, err := from.Fetch(ctx, ref)
	got.Wipe()
	switch {
	case err == nil, errors.Is(err, providers.ErrNotFound):
		return fine("%s: the store lets this host read there (asked for %s, which does not exist; single secrets may have rules of their own)", pattern, ref.Path)
	case errors.Is(err, providers.ErrDenied):
		return doubt(grantRemedy(err)+", unless the permissions name single secrets", "%s: a name below it is denied: %v", pattern, err)
	}
	return wrong(grantRemedy(err), "%s: %v", pattern, err)
}
