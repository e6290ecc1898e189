//go:build integration

package e2e_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/broker/api"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/shop"
)

// filesOnly asks for what can be had late.
func filesOnly() map[string]string {
	return labels("quaymaster.secret.password", "vault:kv/shop/db#password", "quaymaster.secret.legacy", "vault:kv1/shop/legacy")
}

// ungated starts a container that passes no gate, and waits until it has seen
// that there is nothing.
func ungated(t *testing.T, h *host.Host, config *container.Config, hostConfig *container.HostConfig) (id string) {
	t.Helper()
	id, err := h.Engine.Launch(soon(t), config, hostConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, h, id) })
	reports, err := awaitReports(soon(t), h, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(reports[0].Files) > 0 {
		t.Fatalf("it passed no gate, and has %v", reports[0].Files)
	}
	return id
}

// attach runs quaymaster attach.
func attach(t *testing.T, h *host.Host, names ...string) (stdout string, err error) {
	t.Helper()
	stdout, _, err = h.Quaymaster(soon(t), append([]string{"attach", "--config", h.ConfigFile()}, names...)...)
	return stdout, err
}

// onList is how quaymaster ps --json tells of a container; nil: it does not.
func onList(t *testing.T, h *host.Host, id string) *api.Container {
	t.Helper()
	stdout, _, err := h.Quaymaster(soon(t), "ps", "--json", "--config", h.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Containers []api.Container }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Containers {
		if c.ID == id {
			return &c
		}
	}
	return nil
}

// lastReport waits for the n-th report, and returns it.
func lastReport(t *testing.T, h *host.Host, id string, n int) engine.Report {
	t.Helper()
	reports, err := awaitReports(soon(t), h, id, n)
	if err != nil {
		t.Fatal(err)
	}
	return reports[n-1]
}

// TestLateAttach gives containers their files that run already, and follows one
// of them: it is called late wherever it is told of, what is rotated reaches it,
// and with its process all of that ends.
func TestLateAttach(t *testing.T) {
	for name, change := range lateWays {
		t.Run(name, func(t *testing.T) { attachOne(t, h, change) })
	}
	if err := h.Vault.PutSecret(soon(t), "kv", "shop/late", map[string]any{"v": "one"}); err != nil {
		t.Fatal(err)
	}
	id := ungated(t, h, probe("watch", labels("quaymaster.secret.v", "vault:kv/shop/late")), &container.HostConfig{})
	await(t, h, "the container to be listed", func() bool { return onList(t, h, id) != nil })
	if c := onList(t, h, id); !c.Ungated || c.Late {
		t.Errorf("before: %+v", c)
	}
	if out, err := attach(t, h, nameOf(t, id)); err != nil || !strings.Contains(out, nameOf(t, id)) {
		t.Fatalf("%q, %v", out, err)
	}
	if c := onList(t, h, id); c.Ungated || !c.Late || c.Gate != "late" || len(c.Files) != 1 {
		t.Errorf("after: %+v", c)
	}
	if records := recordsOf(id); !strings.Contains(records, `"gate":"late"`) {
		t.Errorf("the audit log does not say that it was late: %s", records)
	}
	if _, err := attach(t, h, id); err == nil || !strings.Contains(err.Error(), "it has its secrets already, through the late gate") {
		t.Errorf("a second time: %v", err)
	}
	lastReport(t, h, id, 2)
	if err := h.Vault.PutSecret(soon(t), "kv", "shop/late", map[string]any{"v": "two"}); err != nil {
		t.Fatal(err)
	}
	if r := lastReport(t, h, id, 3); r.Files["v"].Fingerprint != engine.Fingerprint([]byte("two")) {
		t.Errorf("after a rotation: %+v", r.Files)
	}
	if err := h.Engine.Client().ContainerRestart(soon(t), id, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if r := lastReport(t, h, id, 4); len(r.Files) > 0 {
		t.Errorf("after docker restart: %+v", r.Files)
	}
	await(t, h, "the container to be reported again", func() bool { c := onList(t, h, id); return c != nil && c.Ungated && !c.Late })
}

// lateWays are the ways in which a container is run that gets its files late.
var lateWays = map[string]func(*container.Config, *container.HostConfig){
	"plain": func(*container.Config, *container.HostConfig) {},
	"--read-only": func(_ *container.Config, h *container.HostConfig) {
		h.ReadonlyRootfs, h.Tmpfs = true, map[string]string{"/run": ""}
	},
	"--user 65532":   func(c *container.Config, _ *container.HostConfig) { c.User = "65532:65532" },
	"--cap-drop ALL": func(_ *container.Config, h *container.HostConfig) { h.CapDrop = []string{"ALL"} },
	"--network none": func(_ *container.Config, h *container.HostConfig) { h.NetworkMode = "none" },
}

func attachOne(t *testing.T, h *host.Host, change func(*container.Config, *container.HostConfig)) {
	t.Helper()
	config, hostConfig := probe("watch", filesOnly()), &container.HostConfig{}
	change(config, hostConfig)
	id := ungated(t, h, config, hostConfig)
	if _, err := attach(t, h, id); err != nil {
		t.Fatalf("%v\n%s", err, tail(h.Log()))
	}
	if err := shop.CheckFiles(lastReport(t, h, id, 2)); err != nil {
		t.Error(err)
	}
}

// TestLateAttachInAUserNamespace is TestLateAttach on an engine that maps users.
func TestLateAttachInAUserNamespace(t *testing.T) {
	remapped, err := start(t.Context(), engine.Options{UsernsRemap: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remapped.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for name, change := range lateWays {
		t.Run(name, func(t *testing.T) { attachOne(t, remapped, change) })
	}
}

// TestLateAttachRefused: what cannot be had late, and what nobody may have.
func TestLateAttachRefused(t *testing.T) {
	for want, wanted := range map[string]map[string]string{
		"the variable DB_PASSWORD cannot come through the late gate": three(),
		"denied by policy":             labels("quaymaster.secret.password", "vault:kv/other/db#password"),
		"it has no quaymaster.* label": nil,
	} {
		id := ungated(t, h, probe("watch", wanted), &container.HostConfig{})
		if _, err := attach(t, h, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if reports, err := h.Engine.Reports(soon(t), id); err != nil || len(reports) != 1 {
			t.Errorf("%d reports, %v", len(reports), err)
		}
	}
}

// TestLateAttachByItself: with late_attach a container gets its files without
// anyone's asking: one that ran before the agent, after each docker restart, and
// its variables never.
func TestLateAttachByItself(t *testing.T) {
	id := ungated(t, h, probe("watch", filesOnly()), &container.HostConfig{})
	reconfigure(t, h, "late_attach: true\n"+plain)
	for n := range 2 {
		r := lastReport(t, h, id, 2*n+2)
		if err := shop.CheckFiles(r); err != nil {
			t.Error(err)
		}
		await(t, h, "the container to be listed", func() bool { c := onList(t, h, id); return c != nil && c.Late })
		if n > 0 {
			break
		}
		if err := h.Engine.Client().ContainerRestart(soon(t), id, container.StopOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	variables := ungated(t, h, probe("watch", three()), &container.HostConfig{})
	await(t, h, "the report", func() bool {
		return strings.Contains(h.Log(), "runs WITHOUT its secrets: it passed no gate\" container="+nameOf(t, variables))
	})
}

// TestRequireGateRefusesLateAttach: nothing is given to a container that passed
// no gate where one is required, even to one that is attached already.
func TestRequireGateRefusesLateAttach(t *testing.T) {
	before := ungated(t, h, probe("watch", filesOnly()), &container.HostConfig{})
	if _, err := attach(t, h, before); err != nil {
		t.Fatal(err)
	}
	lastReport(t, h, before, 2)
	reconfigure(t, h, "require_gate: true\n"+plain)
	id, err := h.Engine.Launch(soon(t), probe("watch", filesOnly()), &container.HostConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, id)
	if out, err := attach(t, h, id); err == nil {
		t.Errorf("it was attached: %s", out)
	}
	await(t, h, "both to be stopped", func() bool { return !running(t, id) && !running(t, before) })
	reports, err := h.Engine.Reports(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if len(r.Files) > 0 {
			t.Errorf("it saw %v", r.Files)
		}
	}
}
