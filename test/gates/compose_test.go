//go:build engines

package gates_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// composeFile has one service whose containers get their secrets for what
// Compose says they are, and one that is denied.
const composeFile = `
name: composed
services:
  db:
    image: ` + engine.ProbeImage + `
    pull_policy: never
    runtime: ` + host.Runtime + `
    command: ["/probe", "/run/secrets", "hold"]
    labels:
      quaymaster.secret.password: "vault:kv/shop/db#password"
      quaymaster.secret.legacy: "vault:kv1/shop/legacy"
      quaymaster.env.DB_PASSWORD: "vault:kv/shop/db#password"
  stranger:
    profiles: [stranger]
    image: ` + engine.ProbeImage + `
    pull_policy: never
    runtime: ` + host.Runtime + `
    command: ["/probe", "/run/secrets", "hold"]
    labels:
      quaymaster.secret.password: "vault:kv/shop/db#password"
`

// tryCompose is what a user does with a compose file: up, more of it, restart,
// down.
func tryCompose(t *testing.T, w *world, r *row) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(composeFile), 0o600); err != nil {
		t.Fatal(err)
	}
	compose := func(ctx context.Context, args ...string) (string, error) {
		return w.Engine.Docker(ctx, dir, append([]string{"compose", "--ansi", "never"}, args...)...)
	}
	defer func() {
		if _, err := compose(context.WithoutCancel(t.Context()), "--profile", "*", "down", "--timeout", "1"); err != nil {
			t.Error(err)
		}
	}()
	// Each step, and how often each container has then started.
	started := map[string]int{}
	for _, step := range [][]string{
		{"up", "--detach", "--scale", "db=2"},
		{"restart", "--timeout", "1"},
		{"up", "--detach", "--scale", "db=3", "--force-recreate", "--timeout", "1"},
	} {
		if _, err := compose(soon(t), step...); err != nil {
			r.failed(err)
			t.Fatal(err)
		}
		listed, err := compose(soon(t), "ps", "--quiet", "--no-trunc")
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range strings.Fields(listed) {
			started[id]++
			countReport(t, w, r, id, started[id])
		}
	}
	if r.Starts != 2+2+3 {
		t.Errorf("Compose has started %d containers, want 7", r.Starts)
	}
	_, err := compose(soon(t), "up", "--detach", "stranger")
	r.failed(err)
}
