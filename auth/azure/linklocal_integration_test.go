//go:build integration

package azure_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

// inside tells the test binary that it runs in namespaces of its own.
const inside = "QUAYMASTER_TEST_LINK_LOCAL"

// TestLinkLocalWithoutAnyOverride runs detection and attestation as they run on
// a VM: in network and mount namespaces in which 169.254.169.254 really
// answers.
func TestLinkLocalWithoutAnyOverride(t *testing.T) {
	if os.Getenv(inside) == "" {
		again := exec.Command(os.Args[0], "-test.run", "^TestLinkLocalWithoutAnyOverride$", "-test.v")
		again.Env = []string{"PATH=" + os.Getenv("PATH"), inside + "=yes"}
		cloudsim.Isolate(again)
		out, err := again.CombinedOutput()
		if err != nil || !strings.Contains(string(out), " on VM web-1 in resource group shop of subscription "+subscription) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := cloudsim.HoldLinkLocal(); err != nil {
		t.Fatal(err)
	}
	serve(t, newTenant(t).AddMachine(web1), cloudsim.Options{Address: cloudsim.LinkLocal})
	if cloud, err := detect.Detect(t.Context(), detect.Options{Getenv: os.Getenv}); cloud != detect.Azure || err != nil {
		t.Fatalf("detected %q, %v", cloud, err)
	}
	evidence, err := newAttestor(t, azure.Options{}).Attest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("attested as %s", evidence.Principal)
	credential := credentialAt(t, "", nil)
	if _, err := credential.GetToken(t.Context(), scope(keyVaultScope)); err != nil {
		t.Error(err)
	}
	if suffix, err := credential.KeyVaults(t.Context()); suffix != azuresim.PublicVaults || err != nil {
		t.Errorf("%s, %v", suffix, err)
	}
}
