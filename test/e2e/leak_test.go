//go:build integration

package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// canary stands in a plain variable, as people do it today, so that a search
// that finds nothing is known to search.
const canary = "canary-in-plain-sight-0xBADCAFE"

// TestNoPlaintextOutsideMemory searches, while containers hold their secrets
// and after many have come and gone, everything that is written somewhere.
func TestNoPlaintextOutsideMemory(t *testing.T) {
	config := probe("hold", three())
	config.Env = []string{"CANARY=" + canary}
	id, err := h.Engine.Launch(soon(t), config, gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	reports, err := awaitReports(soon(t), h, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkThree(reports[0]); err != nil {
		t.Fatal(err)
	}
	inspected, err := h.Engine.Client().ContainerInspect(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(inspected)
	if err != nil {
		t.Fatal(err)
	}
	if places := search(t, h.Engine.DataRoot(), canary); len(places) == 0 {
		t.Fatal("the search does not even find the canary below the engine's data root")
	}
	for _, form := range []string{password, base64.StdEncoding.EncodeToString([]byte(password)), fmt.Sprintf("%x", password)} {
		for _, place := range search(t, h.Engine.DataRoot(), form) {
			t.Errorf("plaintext on disk: %s", place)
		}
		for name, content := range map[string]string{
			"docker inspect": string(asJSON), "the agent's log": h.Log(), "the audit log": h.Audit(), "the engine's log": read(t, h.Engine.LogFile()),
		} {
			if strings.Contains(content, form) {
				t.Errorf("plaintext in %s", name)
			}
			if content == "" {
				t.Errorf("%s is empty: nothing was searched", name)
			}
		}
	}
	if !strings.Contains(h.Audit(), `"hmac"`) {
		t.Error("the audit log has no HMAC of the value")
	}
}

// search returns the files below dir that contain text.
func search(t *testing.T, dir, text string) []string {
	t.Helper()
	places, _, err := host.Search(dir, text)
	if err != nil {
		t.Fatal(err)
	}
	return places
}

// TestInjectedEnvironmentStaysInMemory looks where the engine and its runtime
// keep a running container's environment: it must be a tmpfs.
func TestInjectedEnvironmentStaysInMemory(t *testing.T) {
	id, err := h.Engine.Launch(soon(t), probe("hold", three()), gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	if places := search(t, h.Engine.ExecRoot(), password); len(places) == 0 {
		t.Error("the variable is not in the bundle: where is it?")
	}
	mounts := read(t, "/proc/self/mounts")
	if !regexp.MustCompile(`(?m)^\S+ ` + regexp.QuoteMeta(h.Engine.ExecRoot()) + ` tmpfs `).MatchString(mounts) {
		t.Errorf("the engine's exec-root %s is not a tmpfs", h.Engine.ExecRoot())
	}
}

// TestNoCoreDumpOfTheAgent reads the limit that the kernel applies to the agent.
func TestNoCoreDumpOfTheAgent(t *testing.T) {
	limits := read(t, fmt.Sprintf("/proc/%d/limits", h.AgentPID()))
	if !regexp.MustCompile(`Max core file size\s+0\s+0\s`).MatchString(limits) {
		t.Errorf("the agent may dump core:\n%s", limits)
	}
}

// TestTreesAreWipedWhenContainersEnd counts what is left in memory.
func TestTreesAreWipedWhenContainersEnd(t *testing.T) {
	id, err := h.Engine.Launch(soon(t), probe("hold", three()), gated())
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(h.Trees(), id)
	if content := read(t, filepath.Join(tree, "password")); engine.Fingerprint([]byte(content)) != engine.Fingerprint([]byte(password)) {
		t.Error("the tree does not hold the secret while the container runs")
	}
	if err := h.Engine.Client().ContainerStop(soon(t), id, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, h, "the tree of a stopped container to go", func() bool {
		_, err := os.Stat(tree)
		return os.IsNotExist(err)
	})
	remove(t, h, id)
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
