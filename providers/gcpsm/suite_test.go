package gcpsm_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// A payload is bytes of any kind, and the JSON of a credential with parts.
func TestConformance(t *testing.T) {
	t.Run("value", func(t *testing.T) {
		providertest.Run(t, func(t *testing.T) *providertest.World {
			w := conformance(t, "", value)
			w.Single, w.MaxSize = true, gcpsim.MaxPayload
			return w
		})
	})
	t.Run("regional object", func(t *testing.T) {
		providertest.Run(t, func(t *testing.T) *providertest.World {
			w := conformance(t, "/locations/europe-west3", object)
			w.Text, w.MaxSize = true, gcpsim.MaxPayload-len(`{"large":""}`)
			return w
		})
	})
}

// reads counts reads of payloads on their way to a server that can be stopped.
type reads struct {
	next   http.Handler
	n      atomic.Int64
	server *cloudsim.Server
}

func (r *reads) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if strings.HasSuffix(request.URL.Path, ":access") {
		r.n.Add(1)
	}
	r.next.ServeHTTP(w, request)
}

func (r *reads) count() int { return int(r.n.Load()) }

func (r *reads) start(t *testing.T, url string) {
	t.Helper()
	server, err := cloudsim.Start(r, cloudsim.Options{Address: strings.TrimPrefix(url, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	r.server = server
}

// breakDown makes the API misbehave.
func (r *reads) breakDown(t *testing.T, w *world, how providertest.Fault) (undo func()) {
	t.Helper()
	if how == providertest.Down {
		if err := r.server.Close(); err != nil {
			t.Fatal(err)
		}
		return func() { r.start(t, r.server.URL()) }
	}
	w.api.Set("", faults[how])
	return func() { w.api.Clear("") }
}
