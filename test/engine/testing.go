package engine

import (
	"context"
	"testing"
)

// ForTest starts an Engine and removes it when the test is over. A failed
// test's log ends with the end of the Engine's. Where an Engine cannot be
// started, the test fails.
func ForTest(tb testing.TB, o Options) *Engine {
	tb.Helper()
	e, err := Start(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of the engine's log:\n%s", e.LogTail(40))
		}
		// The test's own context has ended by now.
		if err := e.Remove(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return e
}
