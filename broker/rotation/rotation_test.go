package rotation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/rotation"
	"github.com/quaymaster/quaymaster/broker/workload"
)

var (
	none    = workload.Strategy{Kind: workload.StrategyNone}
	hup     = workload.Strategy{Kind: workload.StrategySignal, Signal: "HUP"}
	restart = workload.Strategy{Kind: workload.StrategyRestart}
	update  = workload.Strategy{Kind: workload.StrategyUpdate}
)

func TestCalls(t *testing.T) {
	files, variables := rotation.Change{Files: true}, rotation.Change{Variables: true}
	for _, c := range []struct {
		strategy workload.Strategy
		change   rotation.Change
		want     bool
	}{
		{none, files, false}, {none, variables, false},
		{hup, files, true}, {hup, variables, false}, {hup, rotation.Change{Files: true, Variables: true}, true},
		{restart, files, true}, {restart, variables, true}, {restart, rotation.Change{}, false}, {hup, rotation.Change{}, false}, {update, variables, true}, {update, rotation.Change{}, false},
	} {
		if got := rotation.Calls(c.strategy, c.change); got != c.want {
			t.Errorf("%s after %+v: %v", c.strategy.Kind, c.change, got)
		}
	}
}

// engine notes what it is asked for.
type engine struct {
	asked []string
	err   error
}

func (e *engine) Signal(_ context.Context, id, signal string) error {
	e.asked = append(e.asked, "signal "+id+" "+signal)
	return e.err
}

func (e *engine) Restart(_ context.Context, id string) error {
	e.asked = append(e.asked, "restart "+id)
	return e.err
}

func (e *engine) UpdateService(_ context.Context, id string) error {
	e.asked = append(e.asked, "update "+id)
	return e.err
}

func TestApply(t *testing.T) {
	e := &engine{}
	for _, strategy := range []workload.Strategy{none, hup, restart, update} {
		if err := rotation.Apply(t.Context(), e, "db", strategy); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"signal db HUP", "restart db", "update db"}; !slices.Equal(e.asked, want) {
		t.Errorf("asked for %q, want %q", e.asked, want)
	}
	e.err = errors.New("no such container")
	for strategy, want := range map[workload.Strategy]string{hup: "send it SIGHUP: no such container", restart: "restart it: no such container", update: "update it: no such container"} {
		if err := rotation.Apply(t.Context(), e, "db", strategy); !errors.Is(err, e.err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
