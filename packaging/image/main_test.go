//go:build image

// Package image_test makes images as far as that is possible without a machine:
// provision.sh runs in Debian roots of its own, as Packer would run it; check.sh
// is shown everything that it must find; and Packer itself reads the templates.
// No systemd runs there; that an image boots is shown by test/vm.
package image_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// built is the directory with the packages that are baked in.
var built string

// TestMain builds the packages, unless QUAYMASTER_PACKAGES names a directory
// that has them.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if built = os.Getenv("QUAYMASTER_PACKAGES"); built == "" {
		dir, err := os.MkdirTemp("", "packages")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		build := exec.Command("../build.sh", dir)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			panic(err)
		}
		built = dir
	}
	return m.Run()
}

// one is the package whose name ends so.
func one(t *testing.T, suffix string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(built, "*"+suffix))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages that end in %s: %v, %v", suffix, found, err)
	}
	return found[0]
}

func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	command := exec.Command(program, args...)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// root is the file system of an image.
type root struct{ dir string }

// uploads is where Packer puts what it brings along.
const uploads = "/tmp/quaymaster-image/"

// newRoot is a small Debian with systemd, the scripts and the package.
func newRoot(t *testing.T) *root {
	t.Helper()
	r := &root{t.TempDir()}
	output(t, "tar", "--numeric-owner", "-C", r.dir, "-xpf", strings.TrimSpace(output(t, "../root.sh")))
	if err := os.MkdirAll(r.path(uploads), 0o700); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", "provision.sh", "check.sh", one(t, "_amd64.deb"), one(t, ".x86_64.rpm"), r.path(uploads))
	output(t, "cp", "-L", "/etc/resolv.conf", r.path("etc/resolv.conf"))
	return r
}

func (r *root) path(name string) string { return filepath.Join(r.dir, name) }

// try runs a shell command there, in namespaces of its own, with the network of
// this machine unless it is to have none.
func (r *root) try(network bool, script string) (said string, err error) {
	args := []string{"--mount", "--pid", "--fork", "--kill-child"}
	if !network {
		args = append(args, "--net")
	}
	command := exec.Command("unshare", append(args, "chroot", r.dir, "/bin/bash", "-c", "mount -t proc proc /proc && cd "+uploads+" && "+script)...)
	command.Env = []string{"HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := command.CombinedOutput()
	return string(out), err
}

func (r *root) run(t *testing.T, network bool, script string) string {
	t.Helper()
	said, err := r.try(network, script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, said)
	}
	return said
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
