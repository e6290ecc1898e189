//go:build integration

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/host"
)

// baked is what the agent's configuration says, but for its Vault.
func baked(t *testing.T) (file string) {
	t.Helper()
	const hole = "vault: {}\n"
	file = configured(t, strings.TrimSuffix(hole, "\n"))
	content, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(content), hole) {
		t.Fatalf("%v\n%s", err, content)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(content), hole, "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// vaultTags tell the instance its Vault, and more.
func vaultTags(t *testing.T, more ...string) map[string]string {
	t.Helper()
	vault := h.Vault.(*host.RealVault)
	tags := map[string]string{"Name": "docker", "quaymaster-vault-address": vault.Address(), "quaymaster-vault-role": host.Role,
		"quaymaster-vault-server-id": host.ServerID, "quaymaster-vault-ca-file": vault.CAFile()}
	for i := 0; i < len(more); i += 2 {
		tags[more[i]] = more[i+1]
	}
	return tags
}

// TestAnInstanceThatIsTagged finds its Vault by its tags, and is ready: the
// console says so in one line.
func TestAnInstanceThatIsTagged(t *testing.T) {
	file := baked(t)
	h.IMDS.SetTags(vaultTags(t))
	defer h.IMDS.SetTags(nil)
	stdout, stderr, err := h.Quaymaster(soon(t), "configure", "--config", file)
	if err != nil || stderr != "" || !strings.Contains(stdout, "vault: from the tags of i-") || !strings.Contains(stdout, "grants: from "+file+":") {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	findings := doctor(t, file)
	for _, check := range []string{"configuration", "login vault", "agent"} {
		if got := line(findings, check); got.Status != "ok" {
			t.Errorf("%+v", got)
		}
	}
	if got := line(findings, "configuration"); !strings.Contains(got.Found, "; vault from the tags of i-") {
		t.Errorf("%+v", got)
	}
	stdout, stderr, err = h.Quaymaster(soon(t), "doctor", "--boot", "--config", file)
	if err != nil || stderr != "" || strings.Count(stdout, "\n") != 1 || !strings.HasPrefix(stdout, "quaymaster: this host is ready: aws, ") {
		t.Errorf("%v: %s%s", err, stdout, stderr)
	}
	stdout, _, err = h.Quaymaster(soon(t), "validate", "--config", file)
	if err != nil || !strings.Contains(stdout, "; vault from the tags of i-") {
		t.Errorf("%v: %s", err, stdout)
	}
}

// TestAnInstanceThatIsTaggedWrongly: what tags can be wrong about, as the real
// Vault and the doctor see it. Neither hangs.
func TestAnInstanceThatIsTaggedWrongly(t *testing.T) {
	defer h.IMDS.SetTags(nil)
	for name, c := range map[string]struct {
		tags                 map[string]string
		check, found, remedy string
	}{
		"no such role": {vaultTags(t, "quaymaster-vault-role", "nobody"), "login vault", "nobody", "see in Vault that the role exists"},
		"wrong region": {vaultTags(t, "quaymaster-vault-sts-region", "eu-central-1"), "login vault", "eu-central-1", "vault.sts_region"},
		"no address":   {map[string]string{"quaymaster-vault-role": "r"}, "configuration", "vault.address: is missing", "its tags"},
	} {
		file := baked(t)
		h.IMDS.SetTags(c.tags)
		_, stderr, err := h.Quaymaster(soon(t), "configure", "--config", file)
		if (err != nil) != (c.check == "configuration") {
			t.Errorf("%s: %v: %s", name, err, stderr)
		}
		if got := line(doctor(t, file), c.check); got.Status != "failed" || !strings.Contains(got.Found, c.found) || !strings.Contains(got.Remedy, c.remedy) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestMetadataIsOff: the command says so, and how to turn it on.
func TestMetadataIsOff(t *testing.T) {
	file := baked(t)
	h.IMDS.Set("/", awssim.TurnedOff)
	defer h.IMDS.Clear("/")
	_, stderr, err := h.Quaymaster(soon(t), "configure", "--config", file)
	if err == nil || !strings.Contains(stderr, "--http-endpoint enabled") {
		t.Errorf("%v: %s", err, stderr)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), "conf.d/00-instance.yaml")); err == nil {
		t.Error("something was written")
	}
}
