package broker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/broker/audit"
	"github.com/quaymaster/quaymaster/inject"
)

// looker answers what a container sees at /run/secrets.
type looker func() (bool, error)

func (l looker) Sees(_ context.Context, pid int, source, target string) (bool, error) {
	if pid != 4711 || source == "" || target != "/run/secrets" {
		return false, errors.New("not the container's")
	}
	return l()
}

// A container whose image leads its volume elsewhere runs without its secrets:
// that is reported as for one that passed no gate, and stopped where a gate is
// required.
func TestAVolumeThatIsNotSeen(t *testing.T) {
	for name, c := range map[string]struct {
		seen     func(h *host) (bool, error)
		required bool
		errors   int
		warnings int
	}{
		"seen":          {seen: func(*host) (bool, error) { return true, nil }},
		"not seen":      {seen: func(*host) (bool, error) { return false, nil }, errors: 1},
		"gate required": {seen: func(*host) (bool, error) { return false, nil }, required: true, errors: 1},
		"not known":     {seen: func(*host) (bool, error) { return false, errors.New("no answer in time") }, warnings: 1},
		"over": {seen: func(h *host) (bool, error) {
			h.engine.setRunning("db", false)
			return false, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var now *host
			onHost(t, func(t *testing.T, h *host) {
				now = h
				h.store.put("shop/db", "password", "one")
				h.engine.create("db")
				if _, err := h.deliver(t.Context(), volume("m1", "shop-db", "db")); err != nil {
					t.Fatal(err)
				}
				h.engine.mounts("db", "m1")
				h.reports(inject.Started, "db")
				h.wasLogged("WITHOUT its secrets", c.errors)
				h.wasLogged("could not be looked at", c.warnings)
				if r := h.audited(audit.Ungated, "db"); len(r) != c.errors {
					t.Errorf("%+v", r)
				}
				if all := h.Containers(); len(all) != 1 || all[0].Ungated != (c.errors > 0) {
					t.Errorf("%+v", all)
				}
				if stopped := len(h.engine.stops()) > 0; stopped != c.required {
					t.Errorf("stopped: %v", h.engine.stops())
				}
			}, withProfile, func(o *broker.Options) {
				o.RequireGate, o.Looker = c.required, looker(func() (bool, error) { return c.seen(now) })
			})
		})
	}
}
