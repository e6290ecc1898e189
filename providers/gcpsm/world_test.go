package gcpsm_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/gcpsm"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

func TestMain(m *testing.M) {
	if inChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

const project = "projects/shop-prod"

// docker1 is the instance that this process runs on.
var docker1 = gcpsim.Instance{Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1", ServiceAccount: "docker-host@shop-prod.iam.gserviceaccount.com"}

// world is a project whose secrets an instance reads, with its own access
// tokens.
type world struct {
	cloud    *gcpsim.Cloud
	api      *gcpsim.SecretManager
	server   *cloudsim.Server // of api
	account  string           // the instance's
	provider *gcpsm.Provider
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newCloud()
	w.cloud.Grant(w.account, project, gcpsim.SecretAccessor)
	w.cloud.Grant(w.account, project, gcpsim.SecretViewer)
	w.enter(t, docker1)
	w.server = serve(t, w.api)
	w.provider = w.read(t, gcpsm.Options{Endpoint: w.server.URL()}, gcp.AccessOptions{})
	return w
}

func newCloud() *world {
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	return &world{cloud: cloud, api: gcpsim.NewSecretManager(cloud), account: cloud.AddServiceAccount("shop-prod", "docker-host")}
}

// enter makes this process run on an instance.
func (w *world) enter(t *testing.T, i gcpsim.Instance) {
	t.Helper()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(serve(t, w.cloud.AddInstance(i)).URL(), "http://"))
}

func serve(t *testing.T, handler http.Handler) *cloudsim.Server {
	t.Helper()
	server, err := cloudsim.Start(handler, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// read is a provider that reads with the instance's access tokens.
func (w *world) read(t *testing.T, o gcpsm.Options, access gcp.AccessOptions) *gcpsm.Provider {
	t.Helper()
	tokens, err := gcp.NewAccessTokens(access)
	if err != nil {
		t.Fatal(err)
	}
	o.Tokens = tokens
	p, err := gcpsm.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.CloseIdleConnections)
	return p
}

// put stores a payload, and returns the number of its version.
func (w *world) put(t *testing.T, resource, payload string) int {
	t.Helper()
	number, err := w.cloud.PutSecret(resource, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func parse(t *testing.T, text string) secret.Ref {
	t.Helper()
	ref, err := secret.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// failed checks what every error must be, and that this one says each of texts.
func failed(t *testing.T, err, kind error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want %v", kind)
		return
	}
	for _, other := range []error{providers.ErrInvalid, providers.ErrNotFound, providers.ErrDenied, providers.ErrUnavailable} {
		if errors.Is(err, other) != (other == kind) {
			t.Errorf("is %q: %v, of: %v", other, other != kind, err)
		}
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	for _, unwanted := range []string{"\n", "ya29.", providertest.Marker} {
		if strings.Contains(err.Error(), unwanted) {
			t.Errorf("%q in: %v", unwanted, err)
		}
	}
}

// conformance is a world for the suite, whose payloads are made by write.
func conformance(t *testing.T, prefix string, write func(map[string][]byte) []byte) *providertest.World {
	w := newWorld(t)
	put := func(t *testing.T, project, name string, payload []byte) secret.Ref {
		w.put(t, "projects/"+project+prefix+"/secrets/"+name, string(payload))
		return parse(t, "gcp:"+project+strings.TrimPrefix(prefix, "/locations")+"/"+name)
	}
	reads := &reads{next: w.api}
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
	reads.start(t, w.server.URL())
	return &providertest.World{
		Provider: w.provider,
		Put: func(t *testing.T, name string, fields map[string][]byte) secret.Ref {
			return put(t, "shop-prod", name, write(fields))
		},
		Missing: parse(t, "gcp:shop-prod"+strings.TrimPrefix(prefix, "/locations")+"/none"),
		Denied: func(t *testing.T) secret.Ref {
			return put(t, "other-prod", "theirs", []byte(providertest.Marker))
		},
		Break:    func(t *testing.T, how providertest.Fault) func() { return reads.breakDown(t, w, how) },
		Requests: reads.count,
		Versions: true,
	}
}

// faults are what the suite's are here; down, the server is not there at all.
var faults = map[providertest.Fault]cloudsim.Fault{
	providertest.Slow:      {Delay: 30 * time.Second},
	providertest.Throttled: {Status: 429, Body: `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"` + providertest.Marker + `"}}`},
	providertest.Garbage:   {Status: 200, Body: `{"name":"` + providertest.Marker + `","payload":{"data":"` + providertest.Marker},
	providertest.Failing:   {Status: 500, Body: `{"error":{"code":500,"status":"INTERNAL","message":"` + providertest.Marker + `"}}`},
}

func object(fields map[string][]byte) []byte {
	texts := map[string]string{}
	for name, content := range fields {
		texts[name] = string(content)
	}
	written, _ := json.Marshal(texts) // strings always can be
	return written
}

func value(fields map[string][]byte) []byte { return fields["value"] }
