package postgres

import (
	"context"
	"testing"
)

// ForTest starts a Server and removes it when the test is over. Where it
// cannot be started, the test fails.
func ForTest(tb testing.TB) *Server {
	tb.Helper()
	s, err := Start(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// The test's own context has ended by now.
		if err := s.Remove(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return s
}
