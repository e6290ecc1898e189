package realvault

import (
	"context"
	"testing"
)

// ForTest starts a Vault and removes it when the test is over. Without a
// Vault binary the test fails.
func ForTest(tb testing.TB, o Options) *Vault {
	tb.Helper()
	v, err := Start(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// The test's own context has ended by now.
		if err := v.Remove(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return v
}
