//go:build integration

package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	mounts "github.com/docker/docker/api/types/mount"
	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
	"github.com/quaymaster/quaymaster/test/engine"
)

// target is where the tests' trees go.
const target = "/run/secrets"

// host is an engine, a tree to mount and a directory of the host's that nobody
// may touch.
type host struct {
	*engine.Engine
	*Mounter
	tree   string
	canary string
}

func newHost(t *testing.T, o engine.Options) *host {
	t.Helper()
	h := &host{Engine: engine.ForTest(t, o), Mounter: New()}
	if err := h.ImportBusybox(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.tree = newTree(t)
	h.canary = filepath.Join(t.TempDir(), "canary")
	for _, dir := range []string{"secrets", "without"} {
		if err := os.MkdirAll(filepath.Join(h.canary, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(h.canary, "secrets/theirs"), []byte("the host's"), 0o644); err != nil {
		t.Fatal(err)
	}
	return h
}

// newTree makes a container's tree, on a memory filesystem of its own.
func newTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "memory")
	if err := memfs.Mount(dir, memfs.Options{AllowSwap: true}); err != nil {
		t.Fatal(err)
	}
	trees, err := memfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(trees.Close(), memfs.Unmount(dir)); err != nil {
			t.Error(err)
		}
	})
	tree, err := trees.Create("c0ffee", inject.Owner{}, []inject.File{{Name: "password", Mode: 0o444, Value: secret.NewValue([]byte("ours"))}})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// start starts a container that prepares itself with a script, and returns the
// number of its first process once that is done.
func (h *host) start(t *testing.T, script string, o *container.HostConfig) (pid int) {
	t.Helper()
	if o == nil {
		o = &container.HostConfig{}
	}
	script += "\necho ready\nexec sleep 1000"
	id, err := h.Launch(t.Context(), &container.Config{Image: engine.BusyboxImage, Cmd: []string{"sh", "-ec", script}}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.remove(t, id) })
	for range time.Tick(10 * time.Millisecond) {
		stdout, stderr, err := h.Logs(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		inspected, err := h.Client().ContainerInspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !inspected.State.Running {
			t.Fatalf("the container has ended: %s%s", stdout, stderr)
		}
		if strings.Contains(string(stdout), "ready") {
			return inspected.State.Pid
		}
	}
	panic("a ticker does not end")
}

func (h *host) remove(t *testing.T, id string) {
	t.Helper()
	err := h.Client().ContainerRemove(context.WithoutCancel(t.Context()), id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil {
		t.Error(err)
	}
}

// inside runs a command of the container's own in it.
func inside(t *testing.T, pid int, command ...string) (string, error) {
	t.Helper()
	args := append([]string{"--target", fmt.Sprint(pid), "--mount", "--pid", "--root", "--"}, command...)
	out, err := exec.CommandContext(t.Context(), "nsenter", args...).CombinedOutput()
	return string(out), err
}

// right reports what is wrong with a tree that was attached.
func right(t *testing.T, pid int, at string) error {
	t.Helper()
	if got, err := inside(t, pid, "/bin/cat", at+"/password"); err != nil || got != "ours" {
		return fmt.Errorf("it reads %q, %v", got, err)
	}
	if got, err := inside(t, pid, "/bin/touch", at+"/more"); err == nil || !strings.Contains(got, "Read-only") {
		return fmt.Errorf("it can write: %s", got)
	}
	return nil
}

// attached counts the tree's mounts in a process's mount namespace.
func attached(t *testing.T, pid any, tree string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%v/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), " /"+filepath.Base(tree)+" ")
}

// untouched fails the test unless everything on the host is as it was before:
// the directory that nobody may touch, the tree, and the mounts.
func (h *host) untouched(t *testing.T) {
	t.Helper()
	before := [2]string{listing(t, h.canary), listing(t, h.tree)}
	t.Cleanup(func() {
		if after := [2]string{listing(t, h.canary), listing(t, h.tree)}; after != before {
			t.Errorf("the host was\n%s\nand is\n%s", before, after)
		}
		if n := attached(t, "self", h.tree); n != 0 {
			t.Errorf("the tree is mounted %d times on the host", n)
		}
	})
}

// listing says all there is to say of what lies below dir.
func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-printf", `%P %y %i %m %U:%G %s %T@ %C@ %l\n`).CombinedOutput() // in a cleanup, too
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// hostile is a container that prepared itself, and what is to become of it.
type hostile struct {
	script string
	host   container.HostConfig
	target string // if not /run/secrets
	is     error  // nil: the tree is there and right
	says   string
}

func binds(binds ...string) container.HostConfig { return container.HostConfig{Binds: binds} }

func tmpfs(at, options string) container.HostConfig {
	return container.HostConfig{Tmpfs: map[string]string{at: options}}
}

// containers are the paths that a container can prepare without being privileged.
func containers(h *host) map[string]hostile {
	return map[string]hostile{
		"nothing there":              {},
		"the directory is there":     {script: "mkdir -p /run/secrets"},
		"it has files":               {script: "mkdir -p /run/secrets; echo theirs > /run/secrets/password"},
		"it has mode 000":            {script: "mkdir -p /run/secrets; chmod 000 /run/secrets /run"},
		"a deep path":                {target: "/a/b/c/d/e"},
		"link to a directory":        {script: "mkdir -p /run; ln -s /etc /run/secrets", is: ErrHostile, says: "/run/secrets is a symbolic link"},
		"link to a path of the host": {script: "mkdir -p /run; ln -s " + h.canary + "/secrets /run/secrets", is: ErrHostile, says: "/run/secrets is a symbolic link"},
		"link that climbs":           {script: "mkdir -p /run; ln -s ../../../../../../.." + h.canary + "/secrets /run/secrets", is: ErrHostile, says: "/run/secrets is a symbolic link"},
		"link through /proc":         {script: "mkdir -p /run; ln -s /proc/1/root" + h.canary + " /run/secrets", is: ErrHostile, says: "/run/secrets is a symbolic link"},
		"link to nothing":            {script: "mkdir -p /run; ln -s /nowhere /run/secrets", is: ErrHostile, says: "/run/secrets is a symbolic link"},
		"parent is a link":           {script: "ln -s " + h.canary + " /run", is: ErrHostile, says: "/run is a symbolic link"},
		"a magic link":               {target: "/proc/1/root/run/secrets", is: ErrHostile, says: "/proc/1/root is a symbolic link"},
		"file":                       {script: "mkdir -p /run; echo > /run/secrets", is: ErrHostile, says: "/run/secrets is something else"},
		"FIFO":                       {script: "mkdir -p /run; mkfifo /run/secrets", is: ErrHostile, says: "/run/secrets is something else"},
		"device":                     {script: "mkdir -p /run; mknod /run/secrets c 1 5", is: ErrHostile, says: "/run/secrets is something else"},
		"socket":                     {host: binds(h.Socket() + ":/run/secrets"), is: ErrHostile, says: "/run/secrets is something else"},
		"parent is a file":           {script: "echo > /run", is: ErrHostile, says: "/run is something else"},
		"tmpfs at it":                {host: tmpfs("/run/secrets", ""), is: ErrHostile, says: `something is mounted at /run/secrets already (tmpfs "tmpfs" at "/run/secrets")`},
		"bind at it":                 {host: binds(h.canary + "/secrets:/run/secrets"), is: ErrHostile, says: "something is mounted at /run/secrets already"},
		"volume at it":               {host: binds("here:/run/secrets"), is: ErrHostile, says: "something is mounted at /run/secrets already"},
		"another tree at it":         {host: binds(filepath.Dir(h.tree) + ":/run/secrets"), is: ErrHostile, says: "something is mounted at /run/secrets already"},
		"tmpfs above it":             {host: tmpfs("/run", "")},
		"full tmpfs above it":        {host: tmpfs("/run", "nr_inodes=1"), is: ErrNoPlace, says: "the filesystem there is full"},
		"bind above, there":          {host: binds(h.canary + ":/run")},
		"bind above, missing":        {host: binds(h.canary + "/without:/run"), is: ErrNoPlace, says: "nothing is made in what is mounted there"},
		"host's memory above":        {host: binds(h.ExecRoot() + ":/run"), is: ErrNoPlace, says: "nothing is made in what is mounted there"},
		"volume above":               {host: binds("above:/run"), is: ErrNoPlace, says: "nothing is made in what is mounted there"},
		"read-only, missing":         {host: container.HostConfig{ReadonlyRootfs: true}, is: ErrNoPlace, says: "the filesystem there is read-only"},
		"read-only, there":           {host: container.HostConfig{ReadonlyRootfs: true}, target: "/root"},
	}
}

func TestHostileContainers(t *testing.T) {
	h := newHost(t, engine.Options{})
	for name, c := range containers(h) {
		t.Run(name, func(t *testing.T) { h.try(t, c) })
	}
}

// try attaches the tree twice and takes it away again.
func (h *host) try(t *testing.T, c hostile) {
	t.Helper()
	h.untouched(t)
	at := c.target
	if at == "" {
		at = target
	}
	pid := h.start(t, c.script, &c.host)
	for range 2 {
		err := h.Attach(t.Context(), pid, h.tree, at)
		if c.is != nil {
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
		} else if err != nil {
			t.Fatal(err)
		} else if err := right(t, pid, at); err != nil {
			t.Error(err)
		}
	}
	want := 1
	if c.is != nil {
		want = 0
	}
	if n := attached(t, pid, h.tree); n != want {
		t.Errorf("the tree is mounted %d times in the container", n)
	}
	for range 2 {
		if err := h.Detach(t.Context(), pid, h.tree, at); err != nil {
			t.Error(err)
		}
	}
	if n := attached(t, pid, h.tree); n != 0 {
		t.Errorf("the tree is still mounted %d times in the container", n)
	}
}

// TestHostileContainersInAUserNamespace also shows whose the directories are
// that were made.
func TestHostileContainersInAUserNamespace(t *testing.T) {
	h := newHost(t, engine.Options{UsernsRemap: true})
	all := containers(h)
	for _, name := range []string{"nothing there", "it has mode 000", "link to a path of the host", "parent is a link", "tmpfs at it", "tmpfs above it", "read-only, missing"} {
		t.Run(name, func(t *testing.T) { h.try(t, all[name]) })
	}
	pid := h.start(t, "", nil)
	if err := h.Attach(t.Context(), pid, h.tree, "/run/deep/secrets"); err != nil {
		t.Fatal(err)
	}
	got, err := inside(t, pid, "/bin/stat", "-c", "%u:%g %a", "/bin", "/run", "/run/deep")
	lines := strings.Fields(got)
	if err != nil || len(lines) != 6 || lines[0] == "0:0" || lines[2] != lines[0] || lines[4] != lines[0] || lines[3] != "755" || lines[5] != "755" {
		t.Errorf("the image's directory and those that were made are %q, %v", got, err)
	}
}

// TestAProcessThatChangedItsRoot lies in a volume, which is not the container's
// own for that.
func TestAProcessThatChangedItsRoot(t *testing.T) {
	h := newHost(t, engine.Options{})
	h.untouched(t)
	pid := h.start(t, "cp /bin/busybox /v/without/busybox\nexec chroot /v/without /busybox sh -c 'echo ready; exec /busybox sleep 1000'",
		&container.HostConfig{Binds: []string{"vol:/v/without"}})
	err := h.Attach(t.Context(), pid, h.tree, target)
	if !errors.Is(err, ErrNoPlace) || !strings.Contains(err.Error(), "nothing is made in what is mounted there") {
		t.Errorf("got %v", err)
	}
}

// TestNothingShowsOnTheHost: a volume whose mounts the host shares.
func TestNothingShowsOnTheHost(t *testing.T) {
	h := newHost(t, engine.Options{})
	h.untouched(t)
	shared := t.TempDir()
	if err := os.Mkdir(filepath.Join(shared, "secrets"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Mount(shared, shared, "", unix.MS_BIND, ""), unix.Mount("", shared, "", unix.MS_SHARED, "")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(shared, unix.MNT_DETACH)
	for propagation, says := range map[mounts.Propagation]string{mounts.PropagationRShared: "would show on the host", mounts.PropagationRSlave: ""} {
		pid := h.start(t, "", &container.HostConfig{Mounts: []mounts.Mount{{
			Type: mounts.TypeBind, Source: shared, Target: "/run", BindOptions: &mounts.BindOptions{Propagation: propagation},
		}}})
		err := h.Attach(t.Context(), pid, h.tree, target)
		if says == "" && err == nil {
			err = right(t, pid, target)
		}
		if (says == "") != (err == nil) || (err != nil && (!errors.Is(err, ErrNoPlace) || !strings.Contains(err.Error(), says))) {
			t.Errorf("%s: %v", propagation, err)
		}
		if n := attached(t, "self", h.tree); n != 0 {
			t.Errorf("%s: the tree is mounted %d times on the host", propagation, n)
		}
	}
}

// TestAPrivilegedContainer may do to its own mounts what it likes. It cannot
// have the tree mounted elsewhere than at its target, or twice.
func TestAPrivilegedContainer(t *testing.T) {
	h := newHost(t, engine.Options{})
	h.untouched(t)
	pid := h.start(t, "mkdir -p /run/secrets", &container.HostConfig{CapAdd: []string{"SYS_ADMIN"}, SecurityOpt: []string{"seccomp=unconfined", "apparmor=unconfined"}})
	attach := func(want string) {
		t.Helper()
		err := h.Attach(t.Context(), pid, h.tree, target)
		if want == "" && err == nil {
			err = right(t, pid, target)
		}
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	do := func(command ...string) {
		t.Helper()
		if said, err := inside(t, pid, command...); err != nil {
			t.Fatalf("%v: %v: %s", command, err, said)
		}
	}
	attach("")
	do("/bin/umount", target)
	attach("")
	do("/bin/mount", "-o", "remount,bind,rw", target)
	attach("") // read-only again
	do("/bin/mount", "-t", "tmpfs", "a name with spaces", target)
	attach(`tmpfs "a name with spaces" at "/run/secrets"`)
	if err := h.Detach(t.Context(), pid, h.tree, target); err != nil {
		t.Error(err)
	}
	if n := attached(t, pid, h.tree); n != 1 {
		t.Errorf("what lies below another mount was taken away: %d", n)
	}
	do("/bin/umount", target)
	if err := h.Detach(t.Context(), pid, h.tree, target); err != nil {
		t.Error(err)
	}
	if n := attached(t, pid, h.tree); n != 0 {
		t.Errorf("%d are left", n)
	}
}
