package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Profile is a named set of what labels say, kept on the host, so that a
// compose file need carry no refs. Its keys are those of the labels.
type Profile struct {
	Secrets  map[string]string        `yaml:"secrets"`  // file → ref, which may name {{selectors}}
	Env      map[string]string        `yaml:"env"`      // variable → ref; through the runtime gate only
	Format   map[string]string        `yaml:"format"`   // by the name of a file or a variable, as are the next ones
	Password map[string]string        `yaml:"password"` // ref of a keystore's password
	Refresh  map[string]time.Duration `yaml:"refresh"`
	Optional []string                 `yaml:"optional"` // start without these when they do not exist
	Path     string                   `yaml:"path"`
	Mode     string                   `yaml:"mode"`
	Owner    string                   `yaml:"owner"`
	OnRotate string                   `yaml:"on_rotate"`
}

// The labels that a profile stands for. Package workload, which reads them, is
// on the same layer as this one.
const (
	labelSecret   = "quaymaster.secret."
	labelEnv      = "quaymaster.env."
	labelFormat   = "quaymaster.format."
	labelPassword = "quaymaster.password."
	labelRefresh  = "quaymaster.refresh."
	labelOptional = "quaymaster.optional."
	labelPath     = "quaymaster.path"
	labelMode     = "quaymaster.mode"
	labelOwner    = "quaymaster.owner"
	labelOnRotate = "quaymaster.on-rotate"
)

// Labels returns the labels that say the same as the profile.
func (p Profile) Labels() map[string]string {
	labels := map[string]string{}
	p.each(func(label, _, value string) { labels[label] = value })
	return labels
}

// each calls do for all that the profile says: as a label, by the key below the
// profile's own, and the label's value.
func (p Profile) each(do func(label, key, value string)) {
	named := func(prefix, key string, values map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			do(prefix+name, key+"."+name, values[name])
		}
	}
	named(labelSecret, "secrets", p.Secrets)
	named(labelEnv, "env", p.Env)
	named(labelFormat, "format", p.Format)
	named(labelPassword, "password", p.Password)
	for _, name := range slices.Sorted(maps.Keys(p.Refresh)) {
		do(labelRefresh+name, "refresh."+name, p.Refresh[name].String())
	}
	for i, name := range p.Optional {
		do(labelOptional+name, fmt.Sprintf("optional[%d]", i), "true")
	}
	for _, one := range [][3]string{
		{labelPath, "path", p.Path}, {labelMode, "mode", p.Mode}, {labelOwner, "owner", p.Owner}, {labelOnRotate, "on_rotate", p.OnRotate},
	} {
		if one[2] != "" {
			do(one[0], one[1], one[2])
		}
	}
}

// ProfileLabels returns every profile, by its name, as the labels that say the
// same.
func (c Config) ProfileLabels() map[string]map[string]string {
	profiles := map[string]map[string]string{}
	for name, profile := range c.Profiles {
		profiles[name] = profile.Labels()
	}
	return profiles
}

// CheckLabels judges labels: it returns, by label, what is wrong with them
// whatever the container is, and by "" what is wrong with the whole.
type CheckLabels func(labels map[string]string) map[string]error

func (r *reader) profiles(key string, node ast.Node) {
	r.each(key, node, func(name, key string, place Place, node ast.Node) {
		if _, defined := r.config.Profiles[name]; defined {
			r.faultAt(place, key, fmt.Sprintf("%s: defined twice: at %s and at %s", key, r.places[key], place))
			return
		}
		r.places[key] = place
		var p Profile
		r.mapping(key, node, fields{
			"secrets": r.texts(&p.Secrets), "env": r.texts(&p.Env), "format": r.texts(&p.Format), "password": r.texts(&p.Password),
			"refresh": r.durations(&p.Refresh), "optional": r.list(&p.Optional),
			"path": r.text(&p.Path), "mode": r.text(&p.Mode), "owner": r.text(&p.Owner), "on_rotate": r.text(&p.OnRotate),
		})
		if r.config.Profiles == nil {
			r.config.Profiles = map[string]Profile{}
		}
		r.config.Profiles[name] = p
	})
}

// durations reads a mapping of any keys to durations.
func (r *reader) durations(into *map[string]time.Duration) read {
	return func(key string, node ast.Node) {
		*into = map[string]time.Duration{}
		r.each(key, node, func(name, key string, place Place, node ast.Node) {
			r.places[key] = place
			var d time.Duration
			r.duration(&d)(key, node)
			(*into)[name] = d
		})
	}
}

// profileName is what can stand in a volume's options, in a label and as the
// name of a CDI device (CDI specification, "Device names").
var profileName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9_-]*[a-zA-Z0-9])?$`)

func (l *loader) checkProfiles() {
	for _, name := range slices.Sorted(maps.Keys(l.config.Profiles)) {
		key, p := "profiles."+name, l.config.Profiles[name]
		if !profileName.MatchString(name) {
			l.fault(key, "%q is not a name for a profile: use letters, digits, dashes and underscores, starting and ending with a letter or a digit", name)
		}
		if len(p.Secrets)+len(p.Env) == 0 && !l.refusedWithin(key) {
			l.fault(key, "asks for no secret: name one, as in secrets: {password: \"vault:kv/shop/db#password\"}")
		}
		p.each(func(label, below, value string) {
			if strings.HasPrefix(label, labelSecret) || strings.HasPrefix(label, labelEnv) || strings.HasPrefix(label, labelPassword) {
				l.checkRef(key+"."+below, value)
			}
		})
		l.checkMeaning(key, p)
	}
}

// selectorInRef is what stands in a ref for an attested fact of the container.
var selectorInRef = regexp.MustCompile(`\{\{[^{}]*\}\}`)

func (l *loader) checkRef(key, text string) {
	if l.refused[key] {
		return
	}
	ref, err := secret.ParseRef(selectorInRef.ReplaceAllString(text, "x"))
	switch configured := l.configured(); {
	case err != nil:
		if _, asWritten := secret.ParseRef(text); asWritten != nil {
			err = asWritten
		}
		l.fault(key, "%v", err)
	case !slices.Contains(configured, ref.Provider):
		l.fault(key, "ref %q: there is no provider %q; configured: %s", text, ref.Provider, strings.Join(configured, ", "))
	}
}

// checkMeaning has the profile judged by those who know what the labels mean.
func (l *loader) checkMeaning(key string, p Profile) {
	for _, check := range l.checks {
		wrong := check(p.Labels())
		p.each(func(label, below, _ string) {
			if err := wrong[label]; err != nil && !l.refused[key+"."+below] {
				l.fault(key+"."+below, "%v", err)
			}
		})
		if err := wrong[""]; err != nil {
			l.fault(key, "%v", err)
		}
	}
}
