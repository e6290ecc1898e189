package azurekv_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// maxValue is Key Vault's limit ("Azure Key Vault service limits").
const maxValue = 25 << 10

// faults are how a vault shows each, other than being down.
var faults = map[providertest.Fault]cloudsim.Fault{
	providertest.Slow: {Delay: 30 * time.Second},
	providertest.Throttled: {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}},
		Body: `{"error":{"code":"Throttled","message":"` + providertest.Marker + `"}}`},
	providertest.Garbage: {Status: http.StatusOK, Body: `<html>` + providertest.Marker + `</html>`},
	providertest.Failing: {Status: http.StatusInternalServerError, Body: `{"error":{"code":"InternalError","message":"` + providertest.Marker + `"}}`},
}

// A secret without a content type is one value; one of JSON has fields.
func TestConformance(t *testing.T) {
	t.Run("one value", func(t *testing.T) {
		conform(t, providertest.World{Single: true, MaxSize: maxValue}, func(fields map[string][]byte) azuresim.VaultSecret {
			return azuresim.VaultSecret{Value: string(fields["value"])}
		})
	})
	t.Run("JSON", func(t *testing.T) {
		conform(t, providertest.World{MaxSize: maxValue - len(`{"large":""}`)}, func(fields map[string][]byte) azuresim.VaultSecret {
			members := map[string]string{}
			for name, value := range fields {
				members[name] = string(value)
			}
			text, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			return azuresim.VaultSecret{Value: string(text), ContentType: "application/json"}
		})
	})
}

func conform(t *testing.T, kind providertest.World, stored func(map[string][]byte) azuresim.VaultSecret) {
	w := newWorld(t)
	providertest.Run(t, func(t *testing.T) *providertest.World {
		of := kind
		w.provider = w.open(w.options)
		of.Provider, of.Text, of.Versions, of.Requests = w.provider, true, true, w.reads
		of.Put = func(t *testing.T, name string, fields map[string][]byte) secret.Ref {
			w.vault.Put(name, stored(fields))
			return parse(t, "azure:shop-kv/"+name)
		}
		of.Missing = parse(t, "azure:shop-kv/qm-missing")
		of.Denied = func(t *testing.T) secret.Ref {
			vault := w.tenant.AddVault("denied-kv", "")
			vault.Put("qm-denied", stored(map[string][]byte{"value": []byte(providertest.Marker)}))
			return parse(t, "azure:denied-kv/qm-denied")
		}
		of.Break = func(_ *testing.T, how providertest.Fault) func() {
			if how == providertest.Down {
				return goDown(w)
			}
			w.cloud.Set(host, faults[how])
			return func() { w.cloud.Clear(host) }
		}
		return &of
	})
}

// goDown makes the vaults refuse connections until up. That Go's
// client repeats what it sent on a connection that was kept and had died is no
// attempt of the provider's, so none is kept.
func goDown(w *world) (up func()) {
	w.provider.CloseIdleConnections()
	w.refuses.Store(true)
	return func() { w.refuses.Store(false) }
}
