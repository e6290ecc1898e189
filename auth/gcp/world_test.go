package gcp_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// docker1 is the instance that this process runs on.
var docker1 = gcpsim.Instance{
	Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1", ServiceAccount: "docker-host@shop-prod.iam.gserviceaccount.com",
	Labels: map[string]string{"environment": "production"}, Group: "docker-hosts",
}

// world is a project with one instance, whose metadata server the environment
// points to.
type world struct {
	cloud    *gcpsim.Cloud
	instance *gcpsim.Metadata
	apis     *gcpsim.APIs
	url      string // of the APIs
	account  string // the instance's
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldAt(t, nil)
}

// newWorldAt has the given clock.
func newWorldAt(t *testing.T, now func() time.Time) *world {
	t.Helper()
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(now, nil))
	w := &world{cloud: cloud, apis: gcpsim.NewAPIs(cloud), account: cloud.AddServiceAccount("shop-prod", "docker-host")}
	if err := cloud.AllowSigning(w.account); err != nil {
		t.Fatal(err)
	}
	w.enter(t, cloud.AddInstance(docker1))
	w.url = serve(t, w.apis)
	return w
}

// enter makes this process run on an instance.
func (w *world) enter(t *testing.T, instance *gcpsim.Metadata) {
	t.Helper()
	w.instance = instance
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(serve(t, instance), "http://"))
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server, err := cloudsim.Start(handler, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

// options are those of an attestor in this world.
func (w *world) options(kind gcp.Type) gcp.Options {
	return gcp.Options{Type: kind, Role: "docker-host", IAMCredentials: w.url}
}

func attest(t *testing.T, o gcp.Options, audience string) (auth.Evidence, error) {
	t.Helper()
	attestor, err := gcp.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return attestor.Attest(t.Context(), audience)
}

// said are the claims of the evidence.
func said(t *testing.T, evidence auth.Evidence) map[string]any {
	t.Helper()
	parts := strings.Split(string(evidence.Login["jwt"].Reveal()), ".") // a stand-in signed it
	if len(parts) != 3 {
		t.Fatalf("the evidence has %d parts", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
