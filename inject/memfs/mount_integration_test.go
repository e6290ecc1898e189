//go:build integration

package memfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/quaymaster/quaymaster/inject"
	"github.com/quaymaster/quaymaster/inject/memfs"
)

func mount(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "memory")
	if err := memfs.Mount(dir, memfs.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := memfs.Unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestMount(t *testing.T) {
	dir := mount(t)
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var line string
	for l := range strings.Lines(string(mounts)) {
		if strings.Contains(l, " "+dir+" ") {
			line = l
		}
	}
	for _, option := range []string{"nosuid", "nodev", "noexec", "tmpfs"} {
		if !strings.Contains(line, option) {
			t.Errorf("%s is missing: %s", option, line)
		}
	}
	if kernelHasNoswap(t) != strings.Contains(line, "noswap") {
		t.Errorf("noswap is not used where the kernel has it: %s", line)
	}
	if err := memfs.Mount(dir, memfs.Options{}); err != nil {
		t.Errorf("taking over what is mounted: %v", err)
	}
	if after, _ := os.ReadFile("/proc/self/mountinfo"); strings.Count(string(after), " "+dir+" ") != 1 {
		t.Error("mounted twice")
	}
}

func kernelHasNoswap(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("none", dir, "tmpfs", 0, "noswap")
	if errors.Is(err, unix.EINVAL) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestMountRefusesWeakFlags(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOSUID, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, 0)
	if err := memfs.Mount(dir, memfs.Options{}); err == nil || !strings.Contains(err.Error(), "without nosuid, nodev and noexec") {
		t.Errorf("got %v", err)
	}
}

func TestFilesBelongToTheirOwner(t *testing.T) {
	trees := open(t, mount(t))
	owner := inject.Owner{UID: 65532, GID: 65531}
	path, err := trees.Create(container, owner, append(certificate("one"), file("password", "one")))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a swap keeps the owner
		for _, name := range []string{"", "..data", "password", "..data/password", "timeline", "timeline/tls.key"} {
			info, err := os.Stat(filepath.Join(path, name))
			if err != nil {
				t.Fatal(err)
			}
			if stat := info.Sys().(*syscall.Stat_t); stat.Uid != owner.UID || stat.Gid != owner.GID {
				t.Errorf("%q belongs to %d:%d", name, stat.Uid, stat.Gid)
			}
		}
		if _, err := trees.Swap(container, append(certificate("two"), file("password", "two"))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullFilesystemKeepsTheOldSet(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	trees := open(t, dir)
	path, err := trees.Create(container, me(), []inject.File{file("password", "one")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = trees.Swap(container, []inject.File{file("password", "two"), file("big", strings.Repeat("x", 1<<17))})
	if err == nil || !strings.Contains(err.Error(), "memory filesystem is full") {
		t.Errorf("got %v", err)
	}
	if got := seen(t, path); len(got) != 1 || got["password"] != "one" {
		t.Errorf("the tree now holds %v", got)
	}
}
