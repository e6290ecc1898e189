//go:build integration

package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
)

// attempts is how often a container that races is attached to.
const attempts = 300

// TestAContainerThatRaces exchanges the target, or the directory above it, with
// a link to the host's directory, all the while. Each attempt ends with the
// tree where it belongs or with an error and no mount at all, and the host sees
// nothing of it.
func TestAContainerThatRaces(t *testing.T) {
	h := newHost(t, engine.Options{})
	swapper, err := engine.Swapper(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, paths := range map[string][2]string{"target": {"/run/secrets", "/run/other"}, "above it": {"/run", "/other"}} {
		t.Run(name, func(t *testing.T) {
			h.untouched(t)
			script := fmt.Sprintf("mkdir -p /run/secrets; ln -s %s %s; exec /swapper %s %s", h.canary, paths[1], paths[0], paths[1])
			pid := h.start(t, script, &container.HostConfig{Binds: []string{swapper + ":/swapper:ro"}})
			there := 0
			for range attempts {
				if h.race(t, pid) {
					there++
				}
			}
			t.Logf("of %d attempts %d came to the directory, and none elsewhere", attempts, there)
			if there == 0 || there == attempts {
				t.Error("nobody raced")
			}
		})
	}
}

// race attaches once and reports whether the tree came to its place. Then it is
// taken away again, however long the way there is exchanged.
func (h *host) race(t *testing.T, pid int) bool {
	t.Helper()
	err := h.Attach(t.Context(), pid, h.tree, target)
	if err != nil {
		if !errors.Is(err, ErrHostile) && !errors.Is(err, ErrNoPlace) {
			t.Errorf("got %v", err)
		}
		if n := attached(t, pid, h.tree); n != 0 {
			t.Fatalf("%v, and yet the tree is mounted", err)
		}
		return false
	}
	if n := attached(t, pid, h.tree); n != 1 {
		t.Fatalf("the tree is mounted %d times", n)
	}
	for attached(t, pid, h.tree) != 0 {
		if err := h.Detach(t.Context(), pid, h.tree, target); err != nil {
			t.Fatal(err)
		}
	}
	return true
}

// TestNoThreadStaysInAContainer: neither the process's first thread, which is
// what /proc/self shows, nor any other.
func TestNoThreadStaysInAContainer(t *testing.T) {
	h := newHost(t, engine.Options{})
	h.untouched(t)
	pid := h.start(t, "", nil)
	done := make(chan error)
	for n := range 50 { // at once: all but one of a process's wait for their turn
		go func() { done <- h.Attach(t.Context(), pid, h.tree, fmt.Sprintf("/run/secrets%d", n)) }()
	}
	for range 50 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := attached(t, pid, h.tree); n != 50 {
		t.Errorf("%d mounts", n)
	}
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute) // a thread ends a moment after its work
	for strays(own) != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d threads are in another mount namespace", strays(own))
		}
	}
}

// strays counts the threads that are in another mount namespace than own.
func strays(own string) (n int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/mnt") // this pattern cannot be bad
	for _, task := range tasks {
		if namespace, err := os.Readlink(task); err == nil && namespace != own {
			n++
		}
	}
	return n
}

// TestAContainerThatEnds: a process that has ended is not attached to, and
// detaching from it is no error.
func TestAContainerThatEnds(t *testing.T) {
	h := newHost(t, engine.Options{})
	h.untouched(t)
	pid := h.start(t, "", nil)
	if err := h.Attach(t.Context(), pid, h.tree, target); err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; { // until it is dead
		err = h.Attach(t.Context(), pid, h.tree, target)
	}
	if !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
	if err := h.Detach(t.Context(), pid, h.tree, target); err != nil {
		t.Error(err)
	}
}

// TestAnotherTreeOfTheContainers: what an earlier run left there, which is
// empty since it was wiped, is no obstacle.
func TestAnotherTreeOfTheContainers(t *testing.T) {
	h := newHost(t, engine.Options{})
	h.untouched(t)
	placeholder := filepath.Join(filepath.Dir(h.tree), "wiped")
	if err := os.Mkdir(placeholder, 0o755); err != nil {
		t.Fatal(err)
	}
	pid := h.start(t, "", &container.HostConfig{Binds: []string{placeholder + ":/run/secrets"}})
	for range 2 {
		if err := h.Attach(t.Context(), pid, h.tree, target); err != nil {
			t.Fatal(err)
		}
	}
	if err := right(t, pid, target); err != nil {
		t.Error(err)
	}
	if n := attached(t, pid, h.tree); n != 1 {
		t.Errorf("%d mounts", n)
	}
}
