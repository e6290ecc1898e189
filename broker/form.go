package broker

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject/render"
	"github.com/quaymaster/quaymaster/providers"
)

// render gives each item that can be had the form that was asked for.
func (b *Broker) render(s *served, items []item) {
	for n := range items {
		if !items[n].failed() {
			items[n].err = b.renderOne(s, &items[n])
		}
	}
}

// renderOne gives one item its form. What it lacks for that may be optional,
// like what its provider does not have.
func (b *Broker) renderOne(s *served, i *item) error {
	err := b.form(s, i)
	if errors.Is(err, render.ErrField) {
		return fmt.Errorf("%w: %w", providers.ErrNotFound, err)
	}
	return err
}

func (b *Broker) form(s *served, i *item) (err error) {
	in := render.Input{Secret: i.needs[0].held.secret, Lookup: i.lookup}
	if i.want.Password != nil {
		if in.Password, err = i.lookup(*i.want.Password); err != nil {
			return err
		}
	}
	if i.want.Kind == workload.Variable {
		if i.variable, err = b.Renderer.Variable(i.want, in); err != nil {
			return err
		}
		return fitsVariable(i.want.Name, i.variable)
	}
	i.files, err = b.Renderer.Files(i.want, s.wants.Mode, in)
	return err
}

// lookup is the value of one of the refs that the item needs.
func (i *item) lookup(ref secret.Ref) (secret.Value, error) {
	for _, n := range i.needs {
		if n.ref.String() == ref.String() {
			return selected(n.held.secret, ref.Field)
		}
	}
	return secret.Value{}, fmt.Errorf("%w: %s is not among the refs that were decided on", providers.ErrInvalid, ref)
}

func selected(s secret.Secret, field string) (secret.Value, error) {
	value, err := s.Select(field)
	if err != nil {
		return value, fmt.Errorf("%w: %w", providers.ErrNotFound, err)
	}
	return value, nil
}

func fitsVariable(name string, value secret.Value) error {
	if len(name)+1+value.Len() > maxVariable {
		return fmt.Errorf("the value has %d bytes, too many for an environment variable: use the label %ssecret.<name>",
			value.Len(), workload.Prefix)
	}
	if bytes.IndexByte(value.Reveal(), 0) >= 0 { // only the verdict leaves
		return fmt.Errorf("the value contains a zero byte, which no environment variable can: use the label %ssecret.<name>", workload.Prefix)
	}
	return nil
}
