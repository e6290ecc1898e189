//go:build integration

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
)

// TestRotationReachesARunningContainer changes a secret ten times under a
// container that reads it all the while. Each set that it saw must be one that
// was written, both files of it.
func TestRotationReachesARunningContainer(t *testing.T) {
	ctx := soon(t)
	put := func(n int) {
		t.Helper()
		fields := map[string]any{"user": fmt.Sprintf("user-%d", n), "password": fmt.Sprintf("password-%d", n)}
		if err := h.Vault.PutSecret(ctx, "kv", "shop/rotated", fields); err != nil {
			t.Fatal(err)
		}
	}
	put(0)
	config := probe("watch", labels("quaymaster.secret.user", "vault:kv/shop/rotated#user",
		"quaymaster.secret.password", "vault:kv/shop/rotated#password", "quaymaster.env.USER_NAME", "vault:kv/shop/rotated#user"))
	id, err := h.Engine.Launch(ctx, config, gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	for n := 1; n <= 10; n++ {
		put(n)
		if _, err := awaitReports(ctx, h, id, n+1); err != nil {
			t.Fatal(err)
		}
	}
	reports, err := h.Engine.Reports(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	for n, report := range reports {
		for name, value := range map[string]string{"user": fmt.Sprintf("user-%d", n), "password": fmt.Sprintf("password-%d", n)} {
			if report.Files[name].Fingerprint != engine.Fingerprint([]byte(value)) {
				t.Errorf("report %d: file %s is not that of set %d: %+v", report.Number, name, n, report.Files)
			}
		}
		if report.Env["USER_NAME"].Fingerprint != engine.Fingerprint([]byte("user-0")) {
			t.Error("the environment of a running process has changed")
		}
	}
	if reports[0].T0 != reports[len(reports)-1].T0 {
		t.Error("the container was restarted")
	}
	if got := strings.Count(h.Audit(), `"event":"rotated","container_id":"`+id); got < 20 {
		t.Errorf("the audit log has %d records of rotated secrets, want two or more for each of ten rotations", got)
	}
}

// TestAgentRestartTouchesNothing stops the agent under a running container:
// the container keeps its secrets; a rotation that happened meanwhile is made
// up for; without one, nothing is touched.
func TestAgentRestartTouchesNothing(t *testing.T) {
	for how, end := range map[string]func() error{
		"stopped": func() error { return h.StopAgent(context.WithoutCancel(t.Context())) },
		"killed":  h.KillAgent,
	} {
		t.Run(how, func(t *testing.T) {
			ctx := soon(t)
			put := func(value string) {
				t.Helper()
				if err := h.Vault.PutSecret(ctx, "kv", "shop/restart-"+how, map[string]any{"v": value}); err != nil {
					t.Fatal(err)
				}
			}
			put("before")
			id, err := h.Engine.Launch(ctx, probe("watch", labels("quaymaster.secret.v", "vault:kv/shop/restart-"+how)), gated())
			if err != nil {
				t.Fatal(err)
			}
			defer remove(t, h, id)
			if _, err := awaitReports(ctx, h, id, 1); err != nil {
				t.Fatal(err)
			}
			restart := func() {
				t.Helper()
				if err := end(); err != nil {
					t.Fatal(err)
				}
				said := strings.Count(h.Log(), "container adopted")
				if err := h.StartAgent(ctx); err != nil {
					t.Fatal(err)
				}
				await(t, h, "the container to be adopted", func() bool { return strings.Count(h.Log(), "container adopted") > said })
			}
			restart()
			restart()
			put("after")
			reports, err := awaitReports(ctx, h, id, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(reports) != 2 || reports[1].Files["v"].Fingerprint != engine.Fingerprint([]byte("after")) {
				t.Errorf("two restarts and one rotation led to %d reports: %+v", len(reports), reports)
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			put("meanwhile")
			if err := h.StartAgent(ctx); err != nil {
				t.Fatal(err)
			}
			if reports, err = awaitReports(ctx, h, id, 3); err != nil {
				t.Fatal(err)
			}
			if reports[2].Files["v"].Fingerprint != engine.Fingerprint([]byte("meanwhile")) {
				t.Error("a rotation that was missed was not made up for")
			}
			if reports[0].T0 != reports[2].T0 {
				t.Error("the container was restarted")
			}
		})
	}
}

// TestManyStartsShareOneRead starts thirty containers at once that need the
// same secret, which nobody has read before.
func TestManyStartsShareOneRead(t *testing.T) {
	const starts = 30
	ctx := soon(t)
	if err := h.Vault.PutSecret(ctx, "kv", "shop/shared", map[string]any{"v": "1"}); err != nil {
		t.Fatal(err)
	}
	reconfigure(t, h, "refresh: 1h\ngate_timeout: 20s\n"+grants)
	ids := make(chan string, starts)
	errs := make(chan error, starts)
	for range starts {
		created, err := h.Engine.Client().ContainerCreate(ctx, probe("hold", labels("quaymaster.secret.v", "vault:kv/shop/shared")), gated(), nil, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		ids <- created.ID
		defer remove(t, h, created.ID)
	}
	for range starts {
		go func() { errs <- h.Engine.Client().ContainerStart(ctx, <-ids, container.StartOptions{}) }()
	}
	for range starts {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	reads, err := realVault().Requests("kv/data/shop/shared", "read")
	if err != nil || reads != 1 {
		t.Errorf("%d reads at the server for %d starts, want 1; %v", reads, starts, err)
	}
}
