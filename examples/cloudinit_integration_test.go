//go:build integration

package examples_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/test/host"
)

// TestCloudInitTakesUserData lets cloud-init's own schema judge the user-data,
// and quaymaster what comes of it. That the schema finds a misspelt key is
// seen as well.
func TestCloudInitTakesUserData(t *testing.T) {
	bin, err := host.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range userData(t) {
		own := filepath.Join(t.TempDir(), "user-data.yaml")
		write(t, own, text, 0o600)
		if said, err := exec.CommandContext(t.Context(), "cloud-init", "schema", "--config-file", own).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, said)
		}
		write(t, own, strings.Replace(text, "permissions:", "permission:", 1), 0o600)
		if said, err := exec.CommandContext(t.Context(), "cloud-init", "schema", "--config-file", own).CombinedOutput(); err == nil {
			t.Errorf("%s with a misspelt key passes: %s", file, said)
		}
		configuration := layOut(t, text, t.TempDir())
		if said, err := exec.CommandContext(t.Context(), filepath.Join(bin, "quaymaster"), "validate", "--config", configuration).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, said)
		}
	}
}
