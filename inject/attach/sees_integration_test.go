//go:build integration

package attach

import (
	"os/exec"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
)

// TestSees: a container sees its tree where it finds it itself, through links of
// its own too; not through one of /proc, and never the host's directories.
func TestSees(t *testing.T) {
	h := newHost(t, engine.Options{})
	pid := h.start(t, "mkdir -p /run/empty; ln -s secrets /run/link; ln -s /run /up; ln -s /proc/self/root/run/secrets /magic; ln -s "+
		h.tree+" /out; ln -s ../../../.."+h.tree+" /climbs; touch /file", &container.HostConfig{Binds: []string{h.tree + ":/run/secrets:ro"}})
	for target, want := range map[string]bool{
		"/run/secrets": true, "/run/link": true, "/up/secrets": true,
		"/run/empty": false, "/run": false, "/none": false, "/file": false, "/magic": false, "/out": false, "/climbs": false,
	} {
		if seen, err := h.Sees(t.Context(), pid, h.tree, target); seen != want || err != nil {
			t.Errorf("%s: %v, %v", target, seen, err)
		}
	}
	if seen, err := h.Sees(t.Context(), pid, h.tree, "run/secrets"); seen || err == nil {
		t.Errorf("a relative path: %v, %v", seen, err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	if seen, err := h.Sees(t.Context(), ended.Process.Pid, h.tree, target); seen || err == nil {
		t.Errorf("a process that has ended: %v, %v", seen, err)
	}
	h.untouched(t)
}
