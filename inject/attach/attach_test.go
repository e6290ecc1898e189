package attach

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestPathsThatAreRefused(t *testing.T) {
	m := New()
	for _, target := range []string{"", "/", "run/secrets", "/run/../etc", "/run//secrets", "/run/secrets/", "/run/./x", "../../etc", "/a\x00b", "/a\nb"} {
		if err := m.Attach(t.Context(), os.Getpid(), t.TempDir(), target); err == nil || !strings.Contains(err.Error(), "absolute path") {
			t.Errorf("%q: %v", target, err)
		}
		if err := m.AttachAt(t.Context(), os.Getpid(), target, t.TempDir(), "/run/secrets"); err == nil || !strings.Contains(err.Error(), "absolute path") {
			t.Errorf("root %q: %v", target, err)
		}
	}
}

// hang is work that a filesystem of a container's holds up.
func hang(release <-chan struct{}, undone chan<- struct{}) func(job, context.Context, *fds) (func() error, error) {
	return func(job, context.Context, *fds) (func() error, error) {
		<-release
		return func() error { close(undone); return nil }, nil
	}
}

// TestAContainerThatHangsHoldsNobodyElseUp also shows that what comes too late
// is undone.
func TestAContainerThatHangsHoldsNobodyElseUp(t *testing.T) {
	m := New()
	ctx, cancel := context.WithCancel(t.Context())
	release, undone := make(chan struct{}), make(chan struct{})
	first := make(chan error)
	go func() { first <- m.run(ctx, job{pid: 1, target: "/x"}, hang(release, undone)) }()
	other := make(chan struct{})
	close(other)
	if err := m.run(t.Context(), job{pid: 2, target: "/x"}, hang(other, make(chan struct{}))); err != nil {
		t.Errorf("another process: %v", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "/x of process 1") {
		t.Errorf("got %v", err)
	}
	// It still hangs, so the next call for it gives up, too.
	if err := m.run(ctx, job{pid: 1, target: "/x"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	<-undone
}

func TestMountsAreRead(t *testing.T) {
	mounts := parseMounts(`21 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a
22 21 0:41 /sub /run/my\040dir ro master:7 propagate_from:2 shared:12 - tmpfs a\012b rw
no line of a mountinfo
x 21 0:41 / /x rw - tmpfs y rw
23 21 0:42 / /run rw - tmpfs z rw
`)
	want := []mount{
		{id: 21, device: "0:20", point: "/", peers: "1", kind: "overlay", source: "overlay"},
		{id: 22, device: "0:41", point: "/run/my dir", peers: "12", kind: "tmpfs", source: "a\nb"},
		{id: 23, device: "0:42", point: "/run", kind: "tmpfs", source: "z"},
	}
	if len(mounts) != len(want) {
		t.Fatalf("got %v", mounts)
	}
	for i := range want {
		if mounts[i] != want[i] {
			t.Errorf("got %+v, want %+v", mounts[i], want[i])
		}
	}
}

func TestRootOfAUserNamespace(t *testing.T) {
	for text, want := range map[string]uint32{
		"         0          0 4294967295\n": 0,
		"0 100000 65536\n":                   100000,
		"1 200000 10\n0 1000 1\n":            1000,
	} {
		if got, ok := mappedRoot(text); !ok || got != want {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "1 100000 65536\n", "0 x 1\n"} {
		if _, ok := mappedRoot(text); ok {
			t.Errorf("%q has a root", text)
		}
	}
}

// TestTheHostIsNoContainer: a number that is another process's by now.
func TestTheHostIsNoContainer(t *testing.T) {
	for _, pid := range []int{os.Getpid(), 1 << 30} {
		err := New().Attach(t.Context(), pid, t.TempDir(), "/run/secrets")
		if !errors.Is(err, ErrGone) || strings.Contains(err.Error(), "\n") {
			t.Errorf("process %d: %v", pid, err)
		}
	}
}
