//go:build integration

package e2e_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/quaymaster/quaymaster/test/engine"
)

// TestExecVariables: docker exec and HEALTHCHECK see a container's variables
// where the configuration says so, and not otherwise.
func TestExecVariables(t *testing.T) {
	for name, c := range map[string]struct{ settings, variable, health string }{
		"with":    {"exec_variables: true\n" + plain, password, container.Healthy},
		"without": {plain, "", container.Unhealthy},
	} {
		t.Run(name, func(t *testing.T) {
			reconfigure(t, h, c.settings)
			id, err := h.Engine.Launch(soon(t), &container.Config{Image: engine.BusyboxImage, Labels: three(), Cmd: []string{"sleep", "600"},
				Healthcheck: &container.HealthConfig{Test: []string{"CMD-SHELL", `test -n "$DB_PASSWORD"`}, Interval: 100 * time.Millisecond, Retries: 1},
				StopSignal:  "SIGKILL"}, gated())
			if err != nil {
				t.Fatal(err)
			}
			defer remove(t, h, id)
			if got := execIn(t, id, "sh", "-c", `printf %s "$DB_PASSWORD"`); got != c.variable {
				t.Errorf("docker exec sees a variable of %d bytes, want %d", len(got), len(c.variable))
			}
			await(t, h, "the health check", func() bool {
				inspected, err := h.Engine.Client().ContainerInspect(soon(t), id)
				if err != nil {
					t.Fatal(err)
				}
				return inspected.State.Health.Status == c.health
			})
			if places := search(t, h.Engine.DataRoot(), password); len(places) > 0 {
				t.Errorf("plaintext on the engine's disk: %q", places)
			}
		})
	}
}

// execIn is what a process writes that is started in a running container.
func execIn(t *testing.T, id string, command ...string) string {
	t.Helper()
	client := h.Engine.Client()
	process, err := client.ContainerExecCreate(soon(t), id, container.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	attached, err := client.ContainerExecAttach(soon(t), process.ID, container.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer attached.Close()
	var out, talk bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &talk, attached.Reader); err != nil || talk.Len() > 0 {
		t.Fatalf("%s: %v, %s", strings.Join(command, " "), err, talk.String())
	}
	return out.String()
}
