//go:build integration

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

// insideAzure tells the test binary that it runs in namespaces of its own.
const insideAzure = "QUAYMASTER_TEST_CONFIGURE_ON_AZURE"

// TestConfigureOnAzure runs where 169.254.169.254 really answers, because
// Azure's own library knows no other address: a machine is configured by its
// tags and its user data, and the doctor says that it has no identity.
func TestConfigureOnAzure(t *testing.T) {
	if os.Getenv(insideAzure) == "" {
		again := exec.Command(os.Args[0], "-test.run", "^TestConfigureOnAzure$", "-test.v")
		again.Env = []string{"PATH=" + os.Getenv("PATH"), insideAzure + "=yes"}
		cloudsim.Isolate(again)
		out, err := again.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "the doctor said what to do") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := cloudsim.HoldLinkLocal(); err != nil {
		t.Fatal(err)
	}
	cloud, err := azuresim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	file := image(t, "# nothing\n")
	service := cloud.AddTenant("11111111-2222-3333-4444-555555555555").AddMachine(azuresim.Machine{
		Subscription: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", ResourceGroup: "shop", Name: "web-1", Location: "westeurope", Tags: vaultTags,
		UserData: "#cloud-config\nwrite_files:\n  - path: " + file + "\n    content: |\n      " + strings.ReplaceAll(bakedGrants, "\n", "\n      ") + "\n",
	})
	server, err := cloudsim.Start(service, cloudsim.Options{Address: cloudsim.LinkLocal})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := configure(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if got := origins(file); !strings.Contains(got, "; grants from the user-data of web-1") || !strings.HasSuffix(got, "; vault from the tags of web-1") {
		t.Errorf("%q", got)
	}
	findings, _ := diagnose(t.Context(), file)
	if !hasFinding(findings, "identity", statusFailed, "azure", "assign the machine a managed identity") {
		t.Fatalf("%+v", findings)
	}
	t.Log("the doctor said what to do")
}
