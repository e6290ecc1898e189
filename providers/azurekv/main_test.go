package azurekv_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"} {
		os.Unsetenv(name) // or the tests of those who are behind a proxy would go through it
	}
	goleak.VerifyTestMain(m)
}
