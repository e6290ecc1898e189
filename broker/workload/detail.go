package workload

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// The bounds of how often one secret may be read again: more often would be
// the load of a mistake, more rarely would be never.
const (
	minRefresh = time.Second
	maxRefresh = 24 * time.Hour
)

// detail is what the labels say of one secret besides its ref. It holds for
// the file and the variable of that name.
type detail struct {
	keys     []string // the labels that say it, for errors
	optional bool
	form     Format
	password *secret.Ref
	refresh  time.Duration
}

// detail returns that of name, which the label with this prefix is about.
func (r *reader) detail(prefix, name string) *detail {
	if r.details[name] == nil {
		r.details[name] = &detail{}
	}
	d := r.details[name]
	d.keys = append(d.keys, prefix+name)
	return d
}

func (r *reader) optional(name, value string) (err error) {
	d := r.detail(labelOptional, name)
	if d.optional, err = strconv.ParseBool(value); err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	return nil
}

func (r *reader) format(name, value string) (err error) {
	d := r.detail(labelFormat, name)
	d.form, err = parseFormat(value)
	return err
}

func (r *reader) password(name, value string) error {
	d := r.detail(labelPassword, name)
	ref, err := r.ref(value)
	d.password = &ref
	return err
}

func (r *reader) refresh(name, value string) (err error) {
	d := r.detail(labelRefresh, name)
	d.refresh, err = time.ParseDuration(value)
	if err != nil || d.refresh < minRefresh || d.refresh > maxRefresh {
		return fmt.Errorf("%q is not a time between %v and 24h, such as 15s or 1h30m", value, minRefresh)
	}
	return nil
}

// apply gives the wants their details, and reports those that fit none.
func (r *reader) apply() {
	for _, name := range slices.Sorted(maps.Keys(r.details)) {
		d, found := r.details[name], false
		for i := range r.wants.Items {
			want := &r.wants.Items[i]
			if want.Name != name {
				continue
			}
			found = true
			want.Optional, want.Format, want.Password, want.Refresh = d.optional, d.form, d.password, d.refresh
			if want.Kind == Variable && d.form.directory() {
				r.note(labelFormat+name, fmt.Errorf("%s makes several files, and a variable has one content: ask for it as a file", d.form.Kind))
			}
		}
		if d.password != nil && d.form.Kind != FormatPKCS12 && d.form.Kind != FormatJKS {
			r.note(labelPassword+name, fmt.Errorf("only a keystore has a password: give %s the format %s or %s",
				name, FormatPKCS12, FormatJKS))
		}
		for _, key := range d.keys {
			if !found {
				r.note(key, fmt.Errorf("no file or variable called %s is asked for", name))
			}
		}
	}
}
