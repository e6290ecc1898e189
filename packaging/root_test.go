//go:build packages

package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root is a Debian of its own.
type root struct{ dir string }

// recorder stands in systemctl's place where systemd is to be thought running:
// it writes down what it is told to change, and answers that all is enabled and
// active.
const recorder = `#!/bin/sh
case "$*" in
*is-enabled*) echo enabled ;;
*is-active*) ;;
*) echo "$*" >>/systemctl.log ;;
esac
`

// scripts is where a package's scripts look for systemctl first: dpkg's have the
// caller's PATH, rpm's one that begins with /sbin.
const scripts = "usr/sbin/systemctl"

func newRoot(t *testing.T) *root {
	t.Helper()
	r := &root{t.TempDir()}
	output(t, "tar", "--numeric-owner", "-C", r.dir, "-xpf", strings.TrimSpace(output(t, "./root.sh")))
	return r
}

func (r *root) path(name string) string { return filepath.Join(r.dir, name) }

// try runs a program there, in namespaces of its own.
func (r *root) try(args ...string) (said string, err error) {
	command := exec.Command("unshare", append([]string{"--mount", "--pid", "--net", "--fork", "--kill-child", "chroot", r.dir,
		"/bin/sh", "-c", `mount -t proc proc /proc && exec "$@"`, "sh"}, args...)...)
	command.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "HOME=/root"}
	out, err := command.CombinedOutput()
	return string(out), err
}

func (r *root) run(t *testing.T, args ...string) string {
	t.Helper()
	said, err := r.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return said
}

// rpm runs this machine's rpm on the root, which has none; its scripts run there.
func (r *root) rpm(t *testing.T, args ...string) {
	t.Helper()
	output(t, "unshare", append([]string{"--mount", "/bin/sh", "-c", `mount -t proc proc "$0/proc" && exec rpm --root "$0" --nodeps --nosignature "$@"`, r.dir}, args...)...)
}

func (r *root) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func (r *root) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(r.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (r *root) has(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

// startSystemd has the scripts think that systemd runs.
func (r *root) startSystemd(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(r.path("run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.write(t, scripts, recorder, 0o755)
	r.told(t)
}

// told is what systemd was told since it was last asked for.
func (r *root) told(t *testing.T) (lines []string) {
	t.Helper()
	if r.has("systemctl.log") {
		lines = strings.Split(strings.TrimSpace(r.read(t, "systemctl.log")), "\n")
		if err := os.Remove(r.path("systemctl.log")); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// deb puts the package into the root, as if it had another version.
func (r *root) deb(t *testing.T, version string) (path string) {
	t.Helper()
	work := t.TempDir()
	output(t, "dpkg-deb", "--raw-extract", one(t, built, "_amd64.deb"), work)
	control := filepath.Join(work, "DEBIAN/control")
	about, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	var changed strings.Builder
	for line := range strings.Lines(string(about)) {
		if strings.HasPrefix(line, "Version: ") {
			line = "Version: " + version + "\n"
		}
		changed.WriteString(line)
	}
	if err := os.WriteFile(control, []byte(changed.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	path = "/quaymaster_" + version + ".deb"
	output(t, "dpkg-deb", "-Znone", "--build", work, r.path(path))
	return path
}

// files are the names of all files, but for what dpkg and systemd's tools write
// for themselves.
func (r *root) files(t *testing.T) []string {
	t.Helper()
	return strings.Fields(output(t, "sh", "-c", `cd "$1" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./proc -o -path ./run/mount -o -path ./run/systemd -o -name 'quaymaster_*.deb' \) -prune -o -print | sort`, "sh", r.dir))
}
