package attach

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(hookVariable) != "" {
		os.Exit(hook())
	}
	goleak.VerifyTestMain(m)
}
