//go:build integration

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// stores are all the stores, by the function that starts each.
var stores = []func() (*host.Store, error){
	func() (*host.Store, error) { return h.FrontOfVault() },
	func() (*host.Store, error) { store, _, err := h.SecretsManager(); return store, err },
	func() (*host.Store, error) { return h.ParameterStore() },
	func() (*host.Store, error) { return h.SecretManager() },
	func() (*host.Store, error) { return h.KeyVault() },
}

// TestStoreFails lets each store fail in each way, and looks at what the design
// says of that (docs/design.md, section 6): what is not held does not start,
// and whoever starts it is told why; what is held starts and is called stale;
// what runs keeps what it has; and afterwards all is as before.
func TestStoreFails(t *testing.T) {
	for _, open := range stores {
		store, err := open()
		if store != nil {
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Run(store.Name, func(t *testing.T) {
			use(t, store, "refresh: 1s\ngate_timeout: 5s\n")
			for _, c := range []struct {
				how   string
				fault cloudsim.Fault
			}{
				{"down", cloudsim.Fault{Reset: true}},
				{"slow", cloudsim.Fault{Delay: 30 * time.Second}},
				{"throttling", store.Throttled},
				{"garbage", store.Garbage},
			} {
				t.Run(c.how, func(t *testing.T) { checkOutage(t, store, c.how, c.fault) })
			}
		})
	}
}

// use restarts the agent for one test, with a store whose secrets the shop may
// have and with further settings.
func use(t *testing.T, store *host.Store, settings string) {
	t.Helper()
	h.Environment, h.Namespace = store.Environment, store.Namespace
	grant := fmt.Sprintf("grants: [{name: outage, workloads: {label.app: shop}, secrets: [%q]}]\n", store.Pattern)
	reconfigure(t, h, store.Settings+settings+grant)
	t.Cleanup(func() { h.Environment, h.Namespace = nil, nil }) // runs before reconfigure's, which starts the agent
}

func checkOutage(t *testing.T, store *host.Store, how string, fault cloudsim.Fault) {
	held, cold := how+"-held", how+"-cold"
	for _, name := range []string{held, cold} {
		if err := store.Put(soon(t), name, "value of "+name); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(name string) map[string]string { return labels("quaymaster.secret.v", store.Ref(name)) }
	whole := func(report engine.Report, name string) bool {
		return report.Files["v"].Fingerprint == engine.Fingerprint([]byte("value of "+name))
	}
	running, err := h.Engine.Launch(soon(t), probe("watch", wants(held)), gated())
	if err != nil {
		t.Fatalf("before it fails: %v\n%s", err, tail(h.Log()))
	}
	defer remove(t, h, running)
	if _, err := awaitReports(soon(t), h, running, 1); err != nil {
		t.Fatal(err)
	}

	store.Faults.Set("", fault)
	defer store.Faults.Clear("")
	message := refused(t, h, probe("once", wants(cold)), gated())
	t.Log(message)
	for _, want := range []string{"quaymaster: ", store.Ref(cold), "secret store unavailable"} {
		if !strings.Contains(message, want) {
			t.Errorf("the message does not say %q: %s", want, message)
		}
	}
	await(t, h, "a start that is served what is held, and called stale", func() bool {
		result, err := h.Engine.Run(soon(t), probe("once", wants(held)), gated())
		if err != nil {
			t.Fatalf("what is held does not serve a start: %v", err)
		}
		remove(t, h, result.ID)
		reports, err := engine.ParseReports(result.Stdout)
		if err != nil || !whole(reports[0], held) {
			t.Fatalf("what is held did not arrive: %v, %+v", err, reports)
		}
		return strings.Contains(recordsOf(result.ID), `"stale":true`)
	})

	store.Faults.Clear("")
	await(t, h, "the store to serve again", func() bool {
		id, err := h.Engine.Launch(soon(t), probe("hold", wants(cold)), gated())
		remove(t, h, id)
		return err == nil
	})
	reports, err := h.Engine.Reports(soon(t), running)
	if err != nil || len(reports) != 1 || !whole(reports[0], held) {
		t.Errorf("a running container noticed: %+v, %v", reports, err)
	}
}

// recordsOf are the audit log's records of one container.
func recordsOf(id string) (records string) {
	for line := range strings.Lines(h.Audit()) {
		if strings.Contains(line, id) {
			records += line
		}
	}
	return records
}
