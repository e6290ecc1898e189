package inject

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
)

// ErrPanic is what the starter of a container sees of a bug in the agent.
var ErrPanic = errors.New("the agent failed inside while it prepared this container; its log says where")

// Recover turns a panic of a delivery into ErrPanic, so that a bug refuses one
// container and ends nothing else. A gate defers it in the function that asks
// the Deliverer; about are attributes for the log that name the container.
//
// What a panic carries may be a value, so it is not printed unless it is the
// Go runtime's own, which says which rule was broken; the stack holds no more
// than addresses.
func Recover(log *slog.Logger, err *error, about ...any) {
	var what string
	switch p := recover().(type) {
	case nil:
		return
	case runtime.Error:
		what = p.Error()
	default:
		what = fmt.Sprintf("%T", p)
	}
	log.Error("delivery panicked", append(about, "panic", what, "stack", string(debug.Stack()))...)
	*err = ErrPanic
}
