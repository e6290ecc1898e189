//go:build integration

package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/host"
)

// cached lets the shop's secrets be kept for a boot, and no other.
const cached = "refresh: 1s\ngate_timeout: 2s\nboot_cache: {key: systemd-creds}\n" + grants + `    boot_cache: true
  - name: other
    workloads: {label.app: other}
    secrets: ["vault:kv/other/**"]
`

// booting is a host that boots again and again, with a store that may be away.
type booting struct {
	store       *host.Store
	file        string // the boot cache
	shop, other string // containers
	content     []byte // of the cache as it was before the first boot
}

// sealHere has systemd-creds use a key of the test's own instead of the
// machine's (get_credential_host_secret in systemd's creds-util.c).
func sealHere(t *testing.T) {
	t.Helper()
	h.Environment = []string{"SYSTEMD_CREDENTIAL_SECRET=" + filepath.Join(t.TempDir(), "credential.secret")}
	t.Cleanup(func() { h.Environment = nil })
}

// startBooting has two containers run whose secrets were read, of which one's
// are kept.
func startBooting(t *testing.T) *booting {
	t.Helper()
	b := &booting{store: frontOfVault(t), file: filepath.Join(h.StateDir(), "boot-cache/held")}
	sealHere(t)
	reconfigure(t, h, b.store.Settings+cached)
	for _, c := range []struct {
		id     *string
		labels map[string]string
	}{
		{&b.shop, three()},
		{&b.other, map[string]string{"app": "other", "quaymaster.secret.password": "vault:kv/other/db#password"}},
	} {
		id, err := h.Engine.Launch(soon(t), probe("hold", c.labels), gated())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, h, id) })
		*c.id = id
	}
	b.awaitCache(t, true)
	b.content = []byte(read(t, b.file))
	return b
}

func (b *booting) awaitCache(t *testing.T, there bool) {
	t.Helper()
	await(t, h, "the boot cache", func() bool {
		_, err := os.Stat(b.file)
		return there == (err == nil)
	})
}

// boot ends the agent, the containers and what was in memory, makes cache the
// boot cache's content, and starts an agent with these settings, which finds no
// store.
func (b *booting) boot(t *testing.T, cache []byte, settings string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	b.store.Faults.Set("", unreachable)
	for _, step := range []func() error{
		h.KillAgent,
		func() error { return kill(ctx, b.shop) },
		func() error { return kill(ctx, b.other) },
		h.ForgetMemory,
		func() error { return os.WriteFile(b.file, cache, 0o600) },
		func() error { return h.Configure(b.store.Settings + settings) },
		func() error { return h.StartAgent(ctx) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// kill ends a container that may have ended, and waits until it has.
func kill(ctx context.Context, id string) error {
	return h.Engine.Client().ContainerStop(ctx, id, container.StopOptions{Signal: "SIGKILL"})
}

// again starts a container that exists.
func again(t *testing.T, id string) error {
	t.Helper()
	return h.Engine.Client().ContainerStart(soon(t), id, container.StartOptions{})
}

// staysDown: a start fails because nothing is there to serve it.
func staysDown(t *testing.T, id string) {
	t.Helper()
	if err := again(t, id); err == nil || !strings.Contains(err.Error(), "secret store unavailable") {
		t.Errorf("%v, want that its store is unavailable", err)
	}
}

// TestBootWithoutAnyStore boots a host while Vault is down: what a grant has
// allowed to be kept serves its containers and is called stale, what none has
// does not, and max_stale is the end of it. Nothing of it can be read on the disk,
// and a cache that was altered is not used.
func TestBootWithoutAnyStore(t *testing.T) {
	b := startBooting(t)
	if places := search(t, h.StateDir(), password); len(places) > 0 {
		t.Errorf("plaintext on a disk: %q", places)
	}

	b.boot(t, b.content, cached)
	starts := 1
	await(t, h, "a start that is served what was kept, and called stale", func() bool { // at first it is young still
		before := recordsOf(b.shop)
		if err := again(t, b.shop); err != nil {
			t.Fatalf("%v\n%s", err, tail(h.Log()))
		}
		starts++
		if err := checkThree(lastReport(t, h, b.shop, starts)); err != nil {
			t.Fatal(err)
		}
		stale := strings.Count(strings.TrimPrefix(recordsOf(b.shop), before), `"stale":true`) == 3
		if !stale {
			if err := kill(soon(t), b.shop); err != nil {
				t.Fatal(err)
			}
		}
		return stale
	})
	await(t, h, "quaymaster ps to call it stale", func() bool { c := onList(t, h, b.shop); return c != nil && c.Stale })
	staysDown(t, b.other)
	if places := search(t, h.StateDir(), password); len(places) > 0 {
		t.Errorf("plaintext on a disk: %q", places)
	}

	b.boot(t, b.content, "max_stale: 1ms\n"+cached)
	staysDown(t, b.shop)

	altered := append([]byte(nil), b.content...)
	altered[len(altered)/2] ^= 1
	said := len(h.Log())
	b.boot(t, altered, cached)
	staysDown(t, b.shop)
	if log := h.Log()[said:]; !strings.Contains(log, "the boot cache is not used: ") || !strings.Contains(log, "altered") {
		t.Errorf("the agent does not say what is wrong with the cache: %s", log)
	}

	b.store.Faults.Clear("")
	await(t, h, "the store to serve again", func() bool { return again(t, b.shop) == nil })
	if err := checkThree(lastReport(t, h, b.shop, starts+1)); err != nil {
		t.Error(err)
	}
}

// TestBootCacheEndsWithItsContainer: with the last container that something was
// kept for, it goes from the disk.
func TestBootCacheEndsWithItsContainer(t *testing.T) {
	b := &booting{file: filepath.Join(h.StateDir(), "boot-cache/held")}
	sealHere(t)
	reconfigure(t, h, cached)
	id, err := h.Engine.Launch(soon(t), probe("hold", three()), gated())
	if err != nil {
		t.Fatal(err)
	}
	b.awaitCache(t, true)
	remove(t, h, id)
	b.awaitCache(t, false)
}
