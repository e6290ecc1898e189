//go:build integration

package azure_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// inside tells the test binary that it runs in a network namespace of its own.
const inside = "QUAYMASTER_TEST_LINK_LOCAL"

// TestLinkLocalWithoutAnyOverride runs detection and attestation as they run on
// a VM: in a network namespace in which 169.254.169.254 really answers.
func TestLinkLocalWithoutAnyOverride(t *testing.T) {
	if os.Getenv(inside) == "" {
		again := exec.Command(os.Args[0], "-test.run", "^TestLinkLocalWithoutAnyOverride$", "-test.v")
		again.Env = []string{"PATH=" + os.Getenv("PATH"), inside + "=yes"}
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := again.CombinedOutput()
		if err != nil || !strings.Contains(string(out), " on VM web-1 in resource group shop of subscription "+subscription) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"address", "add", "169.254.169.254/32", "dev", "lo"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	serve(t, newTenant(t).AddMachine(web1), cloudsim.Options{Address: "169.254.169.254:80"})
	if cloud, err := detect.Detect(t.Context(), detect.Options{Getenv: os.Getenv}); cloud != detect.Azure || err != nil {
		t.Fatalf("detected %q, %v", cloud, err)
	}
	evidence, err := newAttestor(t, azure.Options{}).Attest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("attested as %s", evidence.Principal)
}
