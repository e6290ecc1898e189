//go:build integration

package detect_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// inside tells the test binary that it runs in namespaces of its own.
const inside = "QUAYMASTER_TEST_LINK_LOCAL"

// TestLinkLocalWithoutAnyOverride runs detection and attestation as they run on
// a host: in network and mount namespaces in which 169.254.169.254 really
// answers. No option, variable or client says otherwise.
func TestLinkLocalWithoutAnyOverride(t *testing.T) {
	if os.Getenv(inside) == "" {
		again := exec.Command(os.Args[0], "-test.run", "^TestLinkLocalWithoutAnyOverride$", "-test.v")
		again.Env = append(withoutMetadataVariables(os.Environ()), inside+"=yes")
		cloudsim.Isolate(again)
		out, err := again.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "attested as arn:aws:iam::123456789012:role/docker-host") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := cloudsim.HoldLinkLocal(); err != nil {
		t.Fatal(err)
	}
	account := awssim.NewAccount("123456789012", cloudsim.NewEnvironment(nil, nil))
	account.AddRole("/", "docker-host")
	service := awssim.NewIMDS(account, awssim.Instance{ID: "i-0abc", Region: "eu-west-1", AvailabilityZone: "eu-west-1a", Role: "docker-host"})
	server, err := cloudsim.Start(service, cloudsim.Options{Address: cloudsim.LinkLocal})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	cloud, err := detect.Detect(t.Context(), detect.Options{Getenv: os.Getenv})
	if cloud != detect.AWS || err != nil {
		t.Fatalf("detected %q, %v", cloud, err)
	}
	host, err := aws.New(aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := host.Attest(t.Context(), "vault.internal")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("attested as %s", evidence.Principal)
}

func withoutMetadataVariables(environment []string) (out []string) {
	for _, entry := range environment {
		if !strings.HasPrefix(entry, "AWS_") && !strings.HasPrefix(entry, "GCE_") {
			out = append(out, entry)
		}
	}
	return out
}
