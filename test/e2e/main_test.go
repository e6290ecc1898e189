//go:build integration

// Package e2e_test tries the whole way of a secret as a user would: a real
// Docker Engine, a real Vault with its real aws auth method, and the two
// programs as they ship.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// grants is the policy of all tests: containers with the label app=shop may
// have what is below shop.
const grants = `
grants:
  - name: shop
    workloads: {label.app: shop}
    secrets: ["vault:kv/shop/**", "vault:kv1/shop/**"]
`

// plain is the configuration of most tests. Secrets are read again every
// second, so that a rotation is seen soon.
const plain = "refresh: 1s\ngate_timeout: 5s\n" + grants

// password is what kv/shop/db#password holds. No test may print it.
const password = "correct-horse-battery-staple-0xC0FFEE"

// h is the host that tests share. They run one after the other.
var h *host.Host

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx := context.Background()
	var err error
	if h, err = start(ctx, engine.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := h.Remove(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

// start brings up a host with the runtime gate installed, the agent running and
// the secrets of the shop in Vault.
func start(ctx context.Context, o engine.Options) (*host.Host, error) {
	vault, err := host.StartRealVault(ctx, realvault.Options{TLS: true})
	if err != nil {
		return nil, err
	}
	h, err := host.Start(ctx, host.Options{Vault: vault, Engine: o})
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return putSecrets(ctx, h) },
		func() error { return h.Configure(plain) },
		func() error { _, err := h.Install(ctx); return err },
		func() error { return h.StartAgent(ctx) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("%w (and: %v)", err, h.Remove(ctx))
		}
	}
	return h, nil
}

func putSecrets(ctx context.Context, h *host.Host) error {
	if err := h.Vault.PutSecret(ctx, "kv", "shop/db", map[string]any{"password": password, "user": "shop"}); err != nil {
		return err
	}
	if err := h.Vault.PutSecret(ctx, "kv", "other/db", map[string]any{"password": "not-for-the-shop"}); err != nil {
		return err
	}
	return h.Vault.PutSecret(ctx, "kv1", "shop/legacy", map[string]any{"value": "old-school"})
}

// labels are the labels of a container of the shop.
func labels(pairs ...string) map[string]string {
	out := map[string]string{"app": "shop"}
	for pair := range slices.Chunk(pairs, 2) {
		out[pair[0]] = pair[1]
	}
	return out
}

// three is what most tests ask for: two files and a variable.
func three() map[string]string {
	return labels("quaymaster.secret.password", "vault:kv/shop/db#password",
		"quaymaster.secret.legacy", "vault:kv1/shop/legacy",
		"quaymaster.env.DB_PASSWORD", "vault:kv/shop/db#password")
}

// probe is a container whose first instruction reports what it could read.
func probe(mode string, labels map[string]string) *container.Config {
	return &container.Config{Image: engine.ProbeImage, Cmd: []string{"/probe", "/run/secrets", mode}, Labels: labels}
}

// gated is a host configuration that passes the gate.
func gated() *container.HostConfig { return &container.HostConfig{Runtime: host.Runtime} }

// checkThree reports what is wrong with a first report of a container that
// asked for three.
func checkThree(r engine.Report) error {
	want := map[string]string{"password": password, "legacy": "old-school"}
	if len(r.Files) != len(want) || len(r.Unreadable) != 0 {
		return fmt.Errorf("files %v, unreadable %v", r.Files, r.Unreadable)
	}
	for name, value := range want {
		file := r.Files[name]
		if file.Fingerprint != engine.Fingerprint([]byte(value)) || file.Mode != 0o400 || file.UID != r.UID || file.GID != r.GID {
			return fmt.Errorf("file %s is %+v for user %d:%d", name, file, r.UID, r.GID)
		}
	}
	if r.Env["DB_PASSWORD"].Fingerprint != engine.Fingerprint([]byte(password)) {
		return fmt.Errorf("variables %v", r.Env)
	}
	if r.Writable {
		return fmt.Errorf("the directory is writable")
	}
	return nil
}

// runProbe runs a container to its end and returns its first report.
func runProbe(t *testing.T, h *host.Host, config *container.Config, hostConfig *container.HostConfig) engine.Report {
	t.Helper()
	result, err := h.Engine.Run(t.Context(), config, hostConfig)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(h.Log()))
	}
	remove(t, h, result.ID)
	reports, err := engine.ParseReports(result.Stdout)
	if err != nil || len(reports) == 0 {
		t.Fatalf("%d reports, %v; stderr: %s", len(reports), err, result.Stderr)
	}
	return reports[0]
}

// refused starts a container that must not start, and returns what its user sees.
func refused(t *testing.T, h *host.Host, config *container.Config, hostConfig *container.HostConfig) string {
	t.Helper()
	id, err := h.Engine.Launch(t.Context(), config, hostConfig)
	if id != "" {
		remove(t, h, id)
	}
	if err == nil {
		t.Fatal("the container started")
	}
	return err.Error()
}

func remove(t *testing.T, h *host.Host, id string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := h.Engine.Client().ContainerRemove(ctx, id, container.RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, h *host.Host, what string, ready func() bool) {
	t.Helper()
	if err := h.Await(t.Context(), what, ready); err != nil {
		t.Fatal(err)
	}
}

// reconfigure restarts the agent with other settings for one test.
func reconfigure(t *testing.T, h *host.Host, more string) {
	t.Helper()
	restart := func(ctx context.Context, settings string) {
		if err := h.StopAgent(ctx); err != nil {
			t.Fatal(err)
		}
		if err := h.Configure(settings); err != nil {
			t.Fatal(err)
		}
		if err := h.StartAgent(ctx); err != nil {
			t.Fatal(err)
		}
	}
	restart(t.Context(), more)
	t.Cleanup(func() { restart(context.Background(), plain) })
}

func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// soon is a context for one request.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
