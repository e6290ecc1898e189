// Package rotation does to a running container what it asked for after its
// secrets have changed: nothing, a signal, or a restart; and to a service of a
// swarm, a rolling update.
//
// The files have changed by then, in one swap, and that is all that many
// programs need. A strategy makes the others take notice. A signal goes to the
// container's first process and is a matter of milliseconds; a restart takes as
// long as the container takes to stop, and the container passes its gate again
// on the way up, so a restart also brings new variables.
package rotation

import (
	"context"
	"fmt"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// Engine is what strategies ask of the container engine.
type Engine interface {
	// Signal sends a signal, named without SIG, to the container's first process.
	Signal(ctx context.Context, id, signal string) error
	// Restart stops the container, as patiently as it was created to be
	// stopped, and starts it again.
	Restart(ctx context.Context, id string) error
	// UpdateService has a swarm replace the tasks of a service, one after the
	// other as the service says, and go back when the new ones fail.
	UpdateService(ctx context.Context, id string) error
}

// Change is what has changed of what a container was given.
type Change struct {
	Files     bool // of its tree
	Variables bool // that its processes began with
}

// Calls reports whether strategy has something to do after change. Variables
// are those that a process began with: only a restart brings new ones.
func Calls(strategy workload.Strategy, change Change) bool {
	switch strategy.Kind {
	case workload.StrategySignal:
		return change.Files
	case workload.StrategyRestart, workload.StrategyUpdate:
		return change.Files || change.Variables
	}
	return false
}

// Apply does what strategy says to a container, or to a service.
func Apply(ctx context.Context, engine Engine, id string, strategy workload.Strategy) error {
	switch strategy.Kind {
	case workload.StrategySignal:
		if err := engine.Signal(ctx, id, strategy.Signal); err != nil {
			return fmt.Errorf("send it SIG%s: %w", strategy.Signal, err)
		}
	case workload.StrategyRestart:
		if err := engine.Restart(ctx, id); err != nil {
			return fmt.Errorf("restart it: %w", err)
		}
	case workload.StrategyUpdate:
		if err := engine.UpdateService(ctx, id); err != nil {
			return fmt.Errorf("update it: %w", err)
		}
	}
	return nil
}
