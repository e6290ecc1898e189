//go:build integration

package engine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"golang.org/x/sys/unix"
)

// A value that occurs nowhere but in these tests.
const value = "a-value-of-TestProbe-27cbb1"

// withSecret is a directory as the agent will make it: generations behind a link.
func withSecret(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"..1/password": value, "..1/tls/tls.key": "key"} {
		write(t, filepath.Join(dir, name), content)
	}
	for name, target := range map[string]string{"..data": "..1", "password": "..data/password", "tls": "..data/tls"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o640), os.Chown(file, 0, 7)); err != nil {
		t.Fatal(err)
	}
}

func probe(args ...string) *container.Config {
	return &container.Config{Image: ProbeImage, Cmd: append([]string{"/probe"}, args...), Env: []string{"TOKEN=" + value}}
}

// bind mounts dir at /run/secrets, read-only.
func bind(dir string) *container.HostConfig {
	return &container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: dir, Target: "/run/secrets", ReadOnly: true}}}
}

// eventually waits for what another process is about to do.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !happened() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: did not happen within a minute", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// reports waits until the probe in a container has reported n times.
func reports(t *testing.T, e *Engine, id string, n int) []Report {
	t.Helper()
	var got []Report
	eventually(t, "report "+strconv.Itoa(n), func() (done bool) {
		var err error
		if got, err = e.Reports(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return len(got) >= n
	})
	return got
}

func TestBusybox(t *testing.T) {
	e := ForTest(t, Options{})
	if err := e.ImportBusybox(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := e.Run(t.Context(), &container.Config{Image: BusyboxImage, Cmd: []string{"sh", "-c", "echo ok; whoami >&2; exit 3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Stdout) != "ok\n" || string(got.Stderr) != "root\n" || got.ExitCode != 3 {
		t.Errorf("got stdout %q, stderr %q, exit code %d", got.Stdout, got.Stderr, got.ExitCode)
	}
}

func TestProbe(t *testing.T) {
	e := ForTest(t, Options{})
	if err := e.ImportProbe(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := Monotonic()
	got, err := e.Run(t.Context(), probe("/run/secrets", "fail"), bind(withSecret(t)))
	if err != nil {
		t.Fatal(err)
	}
	seen, err := ParseReports(got.Stdout)
	if err != nil || len(seen) != 1 || got.ExitCode != 7 {
		t.Fatalf("got %d reports, %v, exit code %d, stderr %q", len(seen), err, got.ExitCode, got.Stderr)
	}
	r := seen[0]
	want := File{Length: int64(len(value)), Mode: 0o640, GID: 7, Fingerprint: Fingerprint([]byte(value))}
	if r.Files["password"] != want || r.Files["tls/tls.key"].Fingerprint != Fingerprint([]byte("key")) || len(r.Files) != 2 {
		t.Errorf("files are %+v", r.Files)
	}
	if r.Generation != "..1" || len(r.Unreadable) != 0 || r.Writable {
		t.Errorf("generation %q, unreadable %v, writable %v", r.Generation, r.Unreadable, r.Writable)
	}
	if r.Env["TOKEN"] != (Variable{int64(len(value)), Fingerprint([]byte(value))}) {
		t.Errorf("environment is %+v", r.Env)
	}
	if r.T0 < before || r.At < r.T0 || r.At > Monotonic() {
		t.Errorf("started at %v, reported at %v, after %v", r.T0, r.At, before)
	}
	if bytes.Contains(got.Stdout, []byte(value)) {
		t.Error("the report contains a value")
	}
}

// What no user may read is named with its reason, not left out; and a
// directory that can be written is found and left as it was.
func TestProbeAsAnotherUser(t *testing.T) {
	e := ForTest(t, Options{})
	if err := e.ImportProbe(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := withSecret(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	host := bind(dir)
	host.Mounts[0].ReadOnly = false
	config := probe()
	config.User = "65532"
	got, err := e.Run(t.Context(), config, host)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := ParseReports(got.Stdout)
	if err != nil || len(seen) != 1 || got.ExitCode != 0 {
		t.Fatalf("got %d reports, %v, exit code %d", len(seen), err, got.ExitCode)
	}
	if r := seen[0]; r.UID != 65532 || len(r.Files) != 0 || r.Unreadable["password"] != syscall.EACCES || !r.Writable {
		t.Errorf("got %+v", r)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
}

func TestProbeWatches(t *testing.T) {
	e := ForTest(t, Options{})
	if err := e.ImportProbe(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := withSecret(t)
	id, err := e.Launch(t.Context(), probe("/run/secrets", "watch"), bind(dir))
	if err != nil {
		t.Fatal(err)
	}
	reports(t, e, id, 1)
	write(t, filepath.Join(dir, "..2/password"), "another")
	next := filepath.Join(dir, "..next")
	if err := errors.Join(os.Symlink("..2", next), os.Rename(next, filepath.Join(dir, "..data"))); err != nil {
		t.Fatal(err)
	}
	r := reports(t, e, id, 2)[1]
	if r.Number != 2 || r.Generation != "..2" || r.Files["password"].Fingerprint != Fingerprint([]byte("another")) {
		t.Errorf("second report is %+v", r)
	}
	if r.Unreadable["tls"] != syscall.ENOENT {
		t.Errorf("unreadable are %v, want the link that leads nowhere", r.Unreadable)
	}
	wantPromptStop(t, e, id)
}

// wantPromptStop fails unless the probe ends on SIGTERM by itself: killed, its
// exit code would be 137.
func wantPromptStop(t *testing.T, e *Engine, id string) {
	t.Helper()
	if err := e.Client().ContainerStop(t.Context(), id, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := e.Client().ContainerInspect(t.Context(), id)
	if err != nil || got.State.ExitCode != 0 {
		t.Errorf("state is %+v, %v, want exit code 0", got.State, err)
	}
}

func TestUsernsRemap(t *testing.T) {
	e := ForTest(t, Options{UsernsRemap: true})
	if err := e.ImportProbe(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := withSecret(t)
	// t.TempDir's parent is for root only.
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	id, err := e.Launch(t.Context(), probe("/run/secrets", "hold"), bind(dir))
	if err != nil {
		t.Fatal(err)
	}
	r := reports(t, e, id, 1)[0]
	if r.UID != 0 || r.Unreadable["password"] != syscall.EACCES {
		t.Errorf("got %+v, want a root that the host's files are closed to", r)
	}
	state, err := e.Client().ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var process unix.Stat_t
	if err := unix.Stat("/proc/"+strconv.Itoa(state.State.Pid), &process); err != nil || process.Uid == 0 {
		t.Errorf("on the host the process belongs to user %d, %v, want a remapped one", process.Uid, err)
	}
	wantPromptStop(t, e, id)
}

func TestReload(t *testing.T) {
	e := ForTest(t, Options{ExtraConfig: map[string]any{"labels": []string{"a=1"}}})
	labels := func() string {
		info, err := e.Client().Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(info.Labels, " ")
	}
	if got := labels(); got != "a=1" {
		t.Fatalf("labels are %q", got)
	}
	write(t, e.ConfigFile(), `{"labels": ["a=2"]}`)
	if err := e.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := labels(); got != "a=2" {
		t.Errorf("after the reload labels are %q", got)
	}
	write(t, e.ConfigFile(), `{"labels": `)
	if err := e.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), e.ConfigFile()) {
		t.Errorf("got %v for a broken file, want an error that names it", err)
	}
}

func TestBadConfigEndsTheStartWithTheLog(t *testing.T) {
	_, err := Start(t.Context(), Options{ExtraConfig: map[string]any{"no-such-option": true}})
	if err == nil || !strings.Contains(err.Error(), "no-such-option") {
		t.Fatalf("got %v, want dockerd's own complaint", err)
	}
}

func TestImportRefusesWhatIsNoTarball(t *testing.T) {
	e := ForTest(t, Options{})
	if err := e.Import(t.Context(), "images.test/broken", strings.NewReader("not a tarball")); err == nil {
		t.Error("no error")
	}
}

func TestKillAndRestart(t *testing.T) {
	for name, live := range map[string]bool{"plain": false, "live restore": true} {
		t.Run(name, func(t *testing.T) {
			e := ForTest(t, Options{LiveRestore: live})
			if err := e.ImportProbe(t.Context()); err != nil {
				t.Fatal(err)
			}
			id, err := e.Launch(t.Context(), probe("/run/secrets", "hold"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Kill(); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Client().Ping(t.Context()); err == nil {
				t.Fatal("a killed dockerd answers")
			}
			if err := e.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := e.Client().ContainerInspect(t.Context(), id)
			if err != nil || got.State.Running != live {
				t.Errorf("state is %+v, %v, want running: %v", got.State, err, live)
			}
		})
	}
}

// traces are the mounts, processes, shim sockets and cgroups of an engine, found
// without the code under test.
func traces(t *testing.T, dir, netns, container string) []string {
	t.Helper()
	var found []string
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			found = append(found, "mount "+line)
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		if ns, _ := os.Readlink(link); ns == netns {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "cmdline"))
			found = append(found, "process "+link+" "+string(cmdline))
		}
	}
	cgroups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, file := range cgroups {
		content, _ := os.ReadFile(file)
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		// One that has ended already may still wait for its new parent, init.
		if bytes.Contains(content, []byte(container)) && !bytes.Contains(status, []byte("Z (zombie)")) {
			found = append(found, "process "+file)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/docker/", "/sys/fs/cgroup/*/docker/"} {
		dirs, _ := filepath.Glob(pattern + container)
		found = append(found, dirs...)
	}
	sockets, _ := filepath.Glob("/run/containerd/s/*")
	return append(found, sockets...)
}

func TestStopLeavesNothing(t *testing.T) {
	for name, o := range map[string]struct{ live, kill bool }{
		"plain": {}, "live restore": {live: true}, "after a crash": {kill: true},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := filepath.Glob("/run/containerd/s/*")
			e := ForTest(t, Options{LiveRestore: o.live})
			if err := e.ImportBusybox(t.Context()); err != nil {
				t.Fatal(err)
			}
			// A first process that ignores SIGTERM, and a port, hence a docker-proxy.
			id, err := e.Launch(t.Context(), &container.Config{Image: BusyboxImage, Cmd: []string{"sleep", "1000"}},
				&container.HostConfig{PublishAllPorts: true, RestartPolicy: container.RestartPolicy{Name: "always"}})
			if err != nil {
				t.Fatal(err)
			}
			netns, err := os.Readlink("/proc/" + strconv.Itoa(e.dockerd.PID()) + "/ns/net")
			if err != nil {
				t.Fatal(err)
			}
			if found := traces(t, e.Dir(), netns, id); len(found) <= len(before) {
				t.Fatalf("a running engine leaves no trace: %v", found)
			}
			if o.kill {
				if err := e.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if found := traces(t, e.Dir(), netns, id); len(found) > len(before) {
				t.Errorf("left behind: %v", found)
			}
			if _, err := os.Stat(e.DataRoot()); err != nil {
				t.Errorf("the data-root is gone before Remove: %v", err)
			}
			if err := e.Restart(t.Context()); !errors.Is(err, ErrStopped) {
				t.Errorf("Restart after Stop: %v, want ErrStopped", err)
			}
		})
	}
}

// An engine whose owner died without stopping it is removed by the next start.
func TestAbandonedEngineIsRemoved(t *testing.T) {
	e, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.lock.Close(); err != nil { // as the death of this process would
		t.Fatal(err)
	}
	next := ForTest(t, Options{})
	<-e.dockerd.Exited()
	<-e.containerd.Exited()
	if _, err := os.Stat(e.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the abandoned directory is still there: %v", err)
	}
	if _, err := next.Client().Ping(t.Context()); err != nil {
		t.Errorf("the new engine: %v", err)
	}
	if err := errors.Join(e.client.Close(), e.network.Close()); err != nil {
		t.Error(err)
	}
}
