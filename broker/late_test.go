package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/inject"
)

// mounter notes what is mounted into processes.
type mounter struct {
	mounted, unmounted []string
	meanwhile          func() // happens while it mounts
	err                error
}

func (m *mounter) Attach(_ context.Context, pid int, source, target string) error {
	if pid != 4711 {
		return errors.New("no such process")
	}
	m.mounted = append(m.mounted, path.Base(source)+" "+target)
	if m.meanwhile != nil {
		m.meanwhile()
	}
	return m.err
}

func (m *mounter) Detach(_ context.Context, pid int, source, target string) error {
	if _, err := os.Stat(source); err != nil {
		return err
	}
	m.unmounted = append(m.unmounted, fmt.Sprintf("%d %s %s", pid, path.Base(source), target))
	return nil
}

func withMounter(m *mounter) func(*broker.Options) {
	return func(o *broker.Options) { o.Attacher = m }
}

func TestAttach(t *testing.T) {
	m := &mounter{}
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.reports(inject.Started, "db")
		h.wasLogged("WITHOUT its secrets", 1)
		if all := h.Containers(); len(all) != 1 || !all[0].Ungated {
			t.Errorf("%+v", all)
		}
		status, err := h.Attach(t.Context(), "db")
		if err != nil || status.Gate != inject.GateLate || status.Ungated {
			t.Fatalf("%+v, %v", status, err)
		}
		if want := "db /run/secrets"; len(m.mounted) != 1 || m.mounted[0] != want {
			t.Errorf("mounted %q", m.mounted)
		}
		if r := h.audited(audit.Decision, "db"); len(r) != 1 || r[0].Gate != "late" {
			t.Errorf("%+v", r)
		}
		h.store.put("shop/db", "password", "two")
		h.sleep(refresh)
		h.sees("db", "a", "two")
		if _, err := h.Attach(t.Context(), "db"); err == nil || !strings.Contains(err.Error(), "it has its secrets already, through the late gate") {
			t.Error(err)
		}
		h.stop()
		h.boot()
		if all := h.Containers(); len(all) != 1 || all[0].Gate != "late" {
			t.Errorf("%+v", all)
		}
		h.reports(inject.Died, "db")
		h.hasNoTree("db")
	}, withMounter(m), memos)
}

func TestAttachIsRefused(t *testing.T) {
	m := &mounter{err: errors.New("a link lies in its way")}
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.engine.create("env", "quaymaster.env.A", "vault:shop/db")
		h.engine.create("other", "quaymaster.secret.a", "vault:other/db")
		h.engine.create("plain")
		for _, id := range []string{"db", "env", "other", "plain"} {
			h.engine.setRunning(id, true)
		}
		h.engine.create("ended", "quaymaster.secret.a", "vault:shop/db")
		for id, want := range map[string]string{
			"db": "a link lies in its way", "env": "the variable A cannot come through the late gate", "other": "denied by policy",
			"plain": "it has no quaymaster.* label", "ended": "does not run",
		} {
			_, err := h.Attach(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), id) {
				t.Errorf("%s: %v, want %s", id, err, want)
			}
			h.hasNoTree(id)
		}
	}, withMounter(m))
}

// While a tree is mounted the container may end and begin again, and its
// process's number may be another container's.
func TestAttachToAnotherProcess(t *testing.T) {
	m := &mounter{}
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		for want, meanwhile := range map[string]func(){
			"began again meanwhile": func() { h.engine.again++ },
			"does not run":          func() { h.engine.setRunning("db", false) },
		} {
			h.engine.setRunning("db", true)
			h.engine.again, m.meanwhile, m.unmounted = 0, meanwhile, nil
			if _, err := h.Attach(t.Context(), "db"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
			if !slices.Equal(m.unmounted, []string{"4711 db /run/secrets"}) {
				t.Errorf("unmounted %q", m.unmounted)
			}
			h.hasNoTree("db")
		}
	}, withMounter(m))
}

// The configuration may have it done for all, and require_gate forbids it.
func TestLateAttachByItself(t *testing.T) {
	for _, strict := range []bool{false, true} {
		m := &mounter{}
		onHost(t, func(t *testing.T, h *host) {
			h.store.put("shop/db", "password", "one")
			h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
			h.reports(inject.Started, "db")
			h.sleep(1)
			if strict {
				h.hasNoTree("db")
				h.wasLogged("WITHOUT its secrets", 1)
				h.wasLogged("require_gate: true", 1)
				return
			}
			h.sees("db", "a", "one")
			h.wasLogged("WITHOUT its secrets", 0)
			h.wasLogged("got its secrets late", 1)
		}, withMounter(m), func(o *broker.Options) { o.LateAttach, o.RequireGate = true, strict })
	}
}

// An agent that requires a gate does not keep what an earlier one gave late.
func TestRequireGateEndsWhatWasLate(t *testing.T) {
	strict := false
	_, memos := withMemos(t)
	onHost(t, func(t *testing.T, h *host) {
		h.store.put("shop/db", "password", "one")
		h.engine.create("db", "quaymaster.secret.a", "vault:shop/db")
		h.reports(inject.Started, "db")
		if _, err := h.Attach(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		h.stop()
		strict = true
		h.boot()
		h.sleep(1)
		if !slices.Equal(h.engine.stopped, []string{"db"}) {
			t.Errorf("stopped: %q", h.engine.stopped)
		}
		h.reports(inject.Died, "db")
		h.hasNoTree("db")
	}, withMounter(&mounter{}), memos, func(o *broker.Options) { o.RequireGate = strict })
}
