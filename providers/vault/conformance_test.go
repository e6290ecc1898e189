package vault_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// garbage is what a web page of somebody else's looks like, with a value in it.
var garbage = cloudsim.Fault{Status: 200, Body: "<html>" + providertest.Marker + "</html>"}

var faults = map[providertest.Fault]cloudsim.Fault{
	providertest.Down:      {Reset: true},
	providertest.Slow:      {Delay: 30 * time.Second},
	providertest.Throttled: vaultsim.RateLimited(7),
	providertest.Garbage:   garbage,
	providertest.Failing:   vaultsim.Failing,
}

// conformance is a World of either version of the key-value engine. A fault
// meets connections that are new: one that breaks after it was used before,
// net/http replaces by itself.
func conformance(client *vaultclient.Client, provider providers.Provider, version int, far *cloudsim.Faults) *providertest.World {
	world := &providertest.World{
		Provider: provider, MaxSize: secret.MaxValueSize, Text: true, Versions: version == 2,
		Break: func(_ *testing.T, how providertest.Fault) func() {
			client.CloseIdleConnections()
			far.Set("", faults[how])
			return func() { far.Clear("") }
		},
	}
	if version == 1 { // which has versions of nothing
		world.Provider = struct{ providers.Provider }{provider}
	}
	world.Missing = secret.Ref{Provider: "vault", Path: mountOf[version] + "/shop/qm-none"}
	return world
}

var mountOf = map[int]string{1: "old", 2: "kv"}

// anything is fields as Vault's API takes them.
func anything(fields map[string][]byte) map[string]any {
	out := map[string]any{}
	for name, content := range fields {
		out[name] = string(content)
	}
	return out
}

func TestConformance(t *testing.T) {
	for version, mount := range mountOf {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			providertest.Run(t, func(t *testing.T) *providertest.World {
				w := newWorld(t)
				w.PutPolicy("shop", "kv/data/shop/*", "kv/metadata/shop/*", "old/shop/*")
				world := conformance(w.client, w.provider, version, &w.Faults)
				world.Put = func(t *testing.T, name string, fields map[string][]byte) secret.Ref {
					if _, err := w.PutSecret(mount, "shop/"+name, anything(fields)); err != nil {
						t.Fatal(err)
					}
					return secret.Ref{Provider: "vault", Path: mount + "/shop/" + name}
				}
				world.Denied = func(*testing.T) secret.Ref {
					w.put(mount, "other/qm-denied", providertest.Marker)
					return secret.Ref{Provider: "vault", Path: mount + "/other/qm-denied"}
				}
				world.Requests = func() int { return int(w.reads.Load()) }
				return world
			})
		})
	}
}

// isRead reports whether a request is for a secret, and not for what is known
// of it or of its mount.
func isRead(r *http.Request) bool {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	return !strings.HasPrefix(path, "sys/") && !strings.HasPrefix(path, "kv/metadata/")
}
