package providertest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// defect is a Memory with something wrong about it.
type defect struct {
	*providertest.Memory
	fetch   func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error)
	reorder bool
}

func (d defect) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	if d.fetch == nil {
		return d.Memory.Fetch(ctx, ref)
	}
	return d.fetch(ctx, d.Memory, ref)
}

func (d defect) FetchBatch(ctx context.Context, refs []secret.Ref) []providers.Answer {
	answers := d.Memory.FetchBatch(ctx, refs)
	if d.reorder && len(answers) > 1 {
		answers[0], answers[1] = answers[1], answers[0]
	}
	return answers
}

type fetch = func(context.Context, *providertest.Memory, secret.Ref) (secret.Secret, error)

// after changes what a Memory answers.
func after(change func(*secret.Secret, *error)) fetch {
	return func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
		found, err := m.Fetch(ctx, ref)
		change(&found, &err)
		return found, err
	}
}

// defects are by the subtest that must find them.
var defects = map[string]defect{
	"fetch": {fetch: func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
		m.Fetch(ctx, ref)
		return m.Fetch(ctx, ref) // reads twice
	}},
	"field_names": {fetch: func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
		found, err := m.Fetch(ctx, ref)
		if value, selected := found.Fields[ref.Field]; selected {
			found.Fields = map[string]secret.Value{ref.Field: value}
		}
		return found, err
	}},
	"awkward_values": {fetch: after(func(found *secret.Secret, _ *error) {
		for name, value := range found.Fields {
			found.Fields[name] = secret.NewValue([]byte(strings.TrimSpace(string(value.Reveal())))) // trims
		}
	})},
	"versions": {fetch: func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
		ref.Version = ""
		return m.Fetch(ctx, ref)
	}},
	"missing": {fetch: after(func(_ *secret.Secret, err *error) {
		if *err != nil {
			*err = errors.New("nothing: not one of the errors")
		}
	})},
	"denied": {fetch: after(func(found *secret.Secret, err *error) {
		if errors.Is(*err, providers.ErrDenied) {
			*err = fmt.Errorf("%w: foreign, which is %s", providers.ErrDenied, providertest.Marker)
		}
	})},
	"parameters": {fetch: func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
		ref.Params = nil
		return m.Fetch(ctx, ref)
	}},
	"throttled": {fetch: func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
		for range 3 {
			if found, err := m.Fetch(ctx, ref); !errors.Is(err, providers.ErrUnavailable) {
				return found, err
			}
		}
		return m.Fetch(ctx, ref)
	}},
	"cancelled": {fetch: func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
		defer cancel()
		return m.Fetch(own, ref)
	}},
	"own_buffers": {fetch: func() fetch {
		held := map[string]secret.Secret{}
		return func(ctx context.Context, m *providertest.Memory, ref secret.Ref) (secret.Secret, error) {
			if found, holds := held[ref.Path]; holds {
				return found, nil
			}
			found, err := m.Fetch(ctx, ref)
			held[ref.Path] = found
			return found, err
		}
	}()},
	"batch":                   {reorder: true},
	"batch_of_some_that_fail": {reorder: true},
	"large":                   {fetch: after(func(found *secret.Secret, _ *error) { delete(found.Fields, "large") })},
	"missing_version":         {fetch: after(func(_ *secret.Secret, err *error) { *err = nil })},
	"current_version":         {fetch: after(func(found *secret.Secret, _ *error) { found.Version = "v" + found.Version })},
	"concurrent":              {fetch: after(func(found *secret.Secret, _ *error) { found.Fields = nil })},
	"down":                    {fetch: after(func(found *secret.Secret, err *error) { *err = providers.ErrUnavailable })},
}

const chosen = "QUAYMASTER_DEFECT"

// TestDefect is run by TestSuiteFindsDefects with a defect chosen, and must
// fail then. By itself it has none.
func TestDefect(t *testing.T) {
	providertest.Run(t, func(*testing.T) *providertest.World {
		return newWorld(func(m *providertest.Memory) providers.Provider {
			d := defects[os.Getenv(chosen)]
			d.Memory = m
			return d
		})
	})
}

// A suite that nothing can fail would prove nothing.
func TestSuiteFindsDefects(t *testing.T) {
	for name := range defects {
		t.Run(name, func(t *testing.T) {
			test := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestDefect$/^"+name+"$")
			test.Env = append(os.Environ(), chosen+"="+name)
			output, err := test.CombinedOutput()
			if err == nil || !strings.Contains(string(output), "--- FAIL: TestDefect/"+name) {
				t.Errorf("the suite is content: %v\n%s", err, output)
			}
		})
	}
}
