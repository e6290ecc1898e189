//go:build vm

// Package vm_test boots whole virtual machines from a disk that the script which
// makes all our images has made: as instances of EC2, of Google Cloud and of
// Azure, whose metadata answers on loopback, with a real Vault outside.
//
// A story is one machine. Each of its steps is printed with the time since the
// boot began; nothing depends on how long it took. What the machines wrote to
// their consoles is kept in out/vm.
package vm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/vm/machine"
)

// What is installed in the image, and what it is replaced by.
const older, newer = "0.9.0", "0.9.1"

// patience bounds each thing that a story waits for, on a machine that emulates
// another one beside much else.
const patience = 10 * time.Minute

var (
	image       machine.Image
	accelerator string
	consoles    = filepath.Join("..", "..", "out", "vm")
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		clear, err := prepare()
		defer clear()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if leaks := goleak.Find(); code == 0 && leaks != nil {
			fmt.Fprintln(os.Stderr, leaks)
			return 1
		}
		return code
	}())
}

// prepare makes the image that all stories boot from. QUAYMASTER_VM_IMAGE names
// a directory to keep it in, and to find it in the next time.
func prepare() (clear func(), err error) {
	clear = func() {}
	if consoles, err = filepath.Abs(consoles); err != nil {
		return clear, err
	}
	if err := os.MkdirAll(consoles, 0o755); err != nil {
		return clear, err
	}
	image.Dir = os.Getenv("QUAYMASTER_VM_IMAGE")
	if image.Dir == "" {
		if image.Dir, err = os.MkdirTemp("/var/tmp", "quaymaster-vm-"); err != nil {
			return clear, err
		}
		clear = func() { os.RemoveAll(image.Dir) }
	}
	if _, err := os.Stat(filepath.Join(image.Dir, "disk.raw")); err != nil {
		if err := bake(image.Dir); err != nil {
			return clear, err
		}
	}
	accelerator = machine.Accelerator(context.Background(), image)
	fmt.Printf("machines run by %s\n", accelerator)
	return clear, nil
}

func bake(dir string) error {
	began := time.Now()
	for _, version := range []string{older, newer} {
		build := exec.Command(filepath.Join("..", "..", "packaging", "build.sh"), dir)
		build.Env = append(os.Environ(), "ARCHITECTURES=amd64", "VERSION=v"+version)
		if said, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the package of version %s: %w\n%s", version, err, said)
		}
	}
	busybox, err := engine.BusyboxTar(context.Background())
	if err != nil {
		return err
	}
	tarball := filepath.Join(dir, "busybox.tar")
	if err := os.WriteFile(tarball, busybox, 0o644); err != nil {
		return err
	}
	deb := func(version string) string { return filepath.Join(dir, "quaymaster_"+version+"-1_amd64.deb") }
	if said, err := exec.Command("./bake.sh", dir, deb(older), deb(newer), tarball).CombinedOutput(); err != nil {
		return fmt.Errorf("bake the disk: %w\n%s", err, said)
	}
	fmt.Printf("disk baked in %.0f s\n", time.Since(began).Seconds())
	return nil
}

// sideBySide is how many machines run at a time: one for each core is enough.
var sideBySide = make(chan struct{}, 2)

// story is one machine and what is tried on it.
type story struct {
	t       *testing.T
	machine *machine.Machine
}

// boot starts a machine.
func boot(t *testing.T, o machine.Options) *story {
	t.Helper()
	t.Parallel()
	sideBySide <- struct{}{}
	t.Cleanup(func() { <-sideBySide })
	o.Image, o.Accelerator, o.Console = image, accelerator, filepath.Join(consoles, filepath.Base(t.Name())+".console")
	if err := os.Remove(o.Console); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	m, err := machine.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t, m}
	t.Cleanup(func() {
		if t.Failed() {
			s.explain()
		}
		if err := m.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// explain tells what the machine itself says.
func (s *story) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := s.machine.Run(ctx, "journalctl --no-pager -b -u 'quaymaster*' -u docker -u 'cloud-*' | tail -n 60; docker ps -a"); err == nil {
		s.t.Logf("the machine's journal:\n%s", out.Stdout)
	}
}

var printing sync.Mutex

// told prints that a step is through.
func (s *story) told(what string, args ...any) {
	printing.Lock()
	defer printing.Unlock()
	fmt.Printf("%-28s %5.0f s  %s\n", s.t.Name(), s.machine.SinceBoot().Seconds(), fmt.Sprintf(what, args...))
}

// run runs a script that must work, and returns what it printed.
func (s *story) run(script string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	out, err := s.machine.Run(ctx, script)
	if err != nil || out.Code != 0 {
		s.t.Fatalf("%s\nends with %d (%v):\n%s\n%s", script, out.Code, err, out.Stdout, out.Stderr)
	}
	return out.Stdout
}

// is looks that a script prints this.
func (s *story) is(script, want string) {
	s.t.Helper()
	if got := s.run(script); got != want {
		s.t.Errorf("%s\nprints\n%s\ninstead of\n%s", script, got, want)
	}
}

// await runs a script again and again until it ends well, and says that.
func (s *story) await(script, what string, args ...any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	err := s.machine.Until(ctx, func(ctx context.Context) error {
		out, err := s.machine.Run(ctx, script)
		if err == nil && out.Code == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		return fmt.Errorf("%s ends with %d (%v): %s %s", script, out.Code, err, out.Stdout, out.Stderr)
	})
	if err != nil {
		s.t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
	}
	s.told(what, args...)
}

// reboot reboots the machine inside.
func (s *story) reboot() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.machine.Reboot(ctx); err != nil {
		s.t.Fatalf("reboot: %v", err)
	}
	s.told("rebooted")
}
