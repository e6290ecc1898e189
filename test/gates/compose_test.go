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
type composeFile struct {
	content string
	way
}

var runtimeFile = composeFile{way: byRuntime, content: `
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
`}

// volumeFile needs nothing in the engine's configuration, and no ref.
var volumeFile = composeFile{way: byVolume, content: `
name: composed
services:
  db:
    image: ` + engine.ProbeImage + `
    pull_policy: never
    command: ["/probe", "/run/secrets", "hold"]
    volumes: ["secrets:/run/secrets"]
  stranger:
    profiles: [stranger]
    image: ` + engine.ProbeImage + `
    pull_policy: never
    command: ["/probe", "/run/secrets", "hold"]
    volumes: ["strange:/run/secrets"]
volumes:
  secrets: {driver: "${PLUGIN}", driver_opts: {profile: ` + profile + `}}
  strange: {driver: "${PLUGIN}", driver_opts: {profile: ` + profile + `}}
`}

// try is what a user does with a compose file: up, more of it, restart, down.
func (f composeFile) try(t *testing.T, w *world, r *row) {
	dir := t.TempDir()
	for name, content := range map[string]string{"compose.yaml": f.content, ".env": "PLUGIN=" + w.Plugin() + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	compose := func(ctx context.Context, args ...string) (string, error) {
		return w.Engine.Docker(ctx, dir, append([]string{"compose", "--ansi", "never"}, args...)...)
	}
	defer func() {
		if _, err := compose(context.WithoutCancel(t.Context()), "--profile", "*", "down", "--volumes", "--timeout", "1"); err != nil {
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
			f.countReport(t, w, r, id, started[id])
		}
	}
	if r.Starts != 2+2+3 {
		t.Errorf("Compose has started %d containers, want 7", r.Starts)
	}
	_, err := compose(soon(t), "up", "--detach", "stranger")
	r.failed(err)
}
