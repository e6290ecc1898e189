package gcpsim_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/compute/metadata"
	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hostAccount = "docker-host@shop-prod.iam.gserviceaccount.com"

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

// world is a cloud with one instance.
type world struct {
	clock    *clock
	cloud    *gcpsim.Cloud
	instance *gcpsim.Metadata
	server   string // URL of the instance's metadata server
	apis     string // URL of the APIs
}

var docker1 = gcpsim.Instance{
	Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1", ServiceAccount: hostAccount,
	Labels: map[string]string{"environment": "production"}, Group: "docker-hosts",
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	w.cloud = gcpsim.NewCloud(cloudsim.NewEnvironment(w.clock.now, nil))
	if email := w.cloud.AddServiceAccount("shop-prod", "docker-host"); email != hostAccount {
		t.Fatal(email)
	}
	w.instance = w.cloud.AddInstance(docker1)
	w.server, w.apis = start(t, w.instance), start(t, gcpsim.NewAPIs(w.cloud))
	return w
}

func start(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	server, err := cloudsim.Start(handler, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

// client keeps no connections, so there is nothing left when a test ends.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
}

// official is Google's client for a metadata server.
func official(t *testing.T, url string) *metadata.Client {
	t.Helper()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(url, "http://"))
	return metadata.NewClient(client())
}

// do returns status, headers and body of the answer to a request.
func do(t *testing.T, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

// access is an access token of the instance.
func (w *world) access(t *testing.T) string {
	t.Helper()
	text, err := official(t, w.server).GetWithContext(t.Context(), "instance/service-accounts/default/token")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
		Left  int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Type != "Bearer" || answer.Left != 3599 {
		t.Fatalf("%s, %v", text, err)
	}
	return answer.Token
}

// identity is an identity token of the instance.
func (w *world) identity(t *testing.T, query string) string {
	t.Helper()
	token, err := official(t, w.server).GetWithContext(t.Context(), "instance/service-accounts/default/identity?"+query)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// api asks an API and decodes its answer.
func (w *world) api(t *testing.T, method, path, body, token string) (status int, answer map[string]any) {
	t.Helper()
	status, _, text := do(t, method, w.apis+path, body, "Authorization", "Bearer "+token)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%s: %s: %v", path, text, err)
	}
	return status, answer
}

// verified are the claims of a JWT whose signature verifies with one of keys.
func verified(t *testing.T, jwt string, keys map[string]*rsa.PublicKey) (map[string]any, error) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	var header struct{ Alg, Kid string }
	var claims map[string]any
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	key := keys[header.Kid]
	if key == nil || header.Alg != "RS256" {
		return nil, fmt.Errorf("no key %q for %s", header.Kid, header.Alg)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return claims, rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], signature)
}

// certified are the keys of the certificates at path.
func (w *world) certified(t *testing.T, path string) map[string]*rsa.PublicKey {
	t.Helper()
	_, answer := w.api(t, "GET", path, "", "")
	keys := map[string]*rsa.PublicKey{}
	for id, text := range answer {
		block, _ := pem.Decode([]byte(text.(string)))
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		keys[id] = certificate.PublicKey.(*rsa.PublicKey)
	}
	return keys
}

// keySet are the keys of Google's JWKS.
func (w *world) keySet(t *testing.T) map[string]*rsa.PublicKey {
	t.Helper()
	_, answer := w.api(t, "GET", "/oauth2/v3/certs", "", "")
	keys := map[string]*rsa.PublicKey{}
	number := func(text any) *big.Int {
		decoded, err := base64.RawURLEncoding.DecodeString(text.(string))
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(decoded)
	}
	for _, entry := range answer["keys"].([]any) {
		key := entry.(map[string]any)
		keys[key["kid"].(string)] = &rsa.PublicKey{N: number(key["n"]), E: int(number(key["e"]).Int64())}
	}
	return keys
}
