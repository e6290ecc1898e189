package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/workload"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quaymaster": main, pluginName: main, "supervised": supervised})
}

// TestScripts runs the command line as its users do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"answer": answerScript, "configure": configureScript},
	})
}

// TestEverySelectorOfAGrantIsAttested holds the configuration and the
// attestation together, which may not import each other.
func TestEverySelectorOfAGrantIsAttested(t *testing.T) {
	labels := map[string]string{
		"env": "prod", "com.docker.compose.project": "p", "com.docker.compose.service": "s", "com.docker.swarm.service.name": "w",
	}
	attested := workload.Attest(workload.Facts{
		Name: "n", Image: "i", Labels: labels, ImageLabels: map[string]string{"vendor": "v"}, Node: "h",
	})
	for key := range attested {
		if strings.HasPrefix(key, "label.com.") || key == "image.label.vendor" { // alone, the configuration refuses it
			continue
		}
		if err := loadWithSelector(t, key); err != nil {
			t.Errorf("selector %s is attested, and no grant may use it: %v", key, err)
		}
	}
	err := loadWithSelector(t, "nonsense")
	if err == nil {
		t.Fatal("selector nonsense is accepted")
	}
	for _, key := range []string{"label.<key>", "image.label.<key>", "image.ref", "compose.project", "compose.service", "swarm.service", "name", "user"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("the error does not name selector %s: %v", key, err)
		}
	}
}

func loadWithSelector(t *testing.T, key string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "quaymaster.yaml")
	text := fmt.Sprintf("vault: {address: https://vault.internal:8200, role: r}\n"+
		"grants: [{name: g, workloads: {%q: x}, secrets: [\"vault:kv/a\"]}]\n", key)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := config.Load(file)
	return err
}

// TestUndumpable changes this process: that it cannot dump core does no harm.
func TestUndumpable(t *testing.T) {
	if err := undumpable(); err != nil {
		t.Fatal(err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		t.Errorf("dumpable: %d, %v", dumpable, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("core limit: %+v, %v", limit, err)
	}
}
