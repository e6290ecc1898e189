//go:build integration

package gcp_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

// inside tells the test binary that it runs in namespaces of its own.
const inside = "QUAYMASTER_TEST_LINK_LOCAL"

// TestLinkLocalWithoutAnyOverride runs detection and attestation as they run on
// an instance: in network and mount namespaces in which 169.254.169.254 really
// answers.
func TestLinkLocalWithoutAnyOverride(t *testing.T) {
	if os.Getenv(inside) == "" {
		again := exec.Command(os.Args[0], "-test.run", "^TestLinkLocalWithoutAnyOverride$", "-test.v")
		again.Env = []string{"PATH=" + os.Getenv("PATH"), inside + "=yes"}
		cloudsim.Isolate(again)
		out, err := again.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "attested as ") || !strings.Contains(string(out), docker1.ServiceAccount) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := cloudsim.HoldLinkLocal(); err != nil {
		t.Fatal(err)
	}
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	cloud.AddServiceAccount("shop-prod", "docker-host")
	server, err := cloudsim.Start(cloud.AddInstance(docker1), cloudsim.Options{Address: cloudsim.LinkLocal})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if found, err := detect.Detect(t.Context(), detect.Options{Getenv: os.Getenv}); found != detect.GCP || err != nil {
		t.Fatalf("detected %q, %v", found, err)
	}
	evidence, err := attest(t, gcp.Options{Role: "docker-host"}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("attested as %s", evidence.Principal)
}
