//go:build integration

package vault_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/providers/providertest"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// wire stands between a provider and a real Vault: it counts, listens, and
// misbehaves when it is told to.
type wire struct {
	cloudsim.Faults // by Vault's path, without /v1/
	vault           *httputil.ReverseProxy

	reads atomic.Int64 // requests for secrets

	mu   sync.Mutex
	said bytes.Buffer
}

// newWire returns the wire to a Vault that speaks TLS, and its address.
func newWire(t *testing.T, v *realvault.Vault) (*wire, string) {
	t.Helper()
	target := must[*url.URL](t)(url.Parse(v.Address()))
	transport := &http.Transport{Proxy: nil, TLSClientConfig: &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}}
	transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(v.CAFile())))
	t.Cleanup(transport.CloseIdleConnections)
	w := &wire{}
	w.vault = &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ModifyResponse: w.hear}
	server := must[*cloudsim.Server](t)(cloudsim.Start(w, cloudsim.Options{}))
	t.Cleanup(func() { server.Close() })
	return w, server.URL()
}

// ServeHTTP implements http.Handler.
func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	asked, _ := io.ReadAll(r.Body) // a client that went away is not listened to
	r.Body = io.NopCloser(bytes.NewReader(asked))
	if isRead(r) {
		w.reads.Add(1)
	}
	w.mu.Lock()
	w.said.Write(asked)
	w.mu.Unlock()
	if !w.Strike(rw, r, path) {
		w.vault.ServeHTTP(rw, r)
	}
}

func (w *wire) hear(response *http.Response) error {
	answered, err := io.ReadAll(response.Body)
	response.Body = io.NopCloser(bytes.NewReader(answered))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said.Write(answered)
	return err
}

// listen lets r's provider talk over a wire, and returns what is said on it.
func (r *real) listen() (said func() string) {
	r.t.Helper()
	w, address := newWire(r.t, r.Vault)
	_, r.provider = newProvider(r.t, vaultclient.Config{Address: address}, r.tokens, time.Now)
	return func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.said.String()
	}
}

func TestRealVaultConformance(t *testing.T) {
	r := newReal(t)
	r.allow(`path "kv/metadata/shop/*" { capabilities = ["read"] }`)
	for version, mount := range mountOf {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			providertest.Run(t, func(t *testing.T) *providertest.World {
				w, address := newWire(t, r.Vault)
				client, provider := newProvider(t, vaultclient.Config{Address: address}, r.tokens, time.Now)
				world := conformance(client, provider, version, &w.Faults)
				world.Put = func(_ *testing.T, name string, fields map[string][]byte) secret.Ref {
					r.put(mount, "shop/"+name, anything(fields))
					return secret.Ref{Provider: "vault", Path: mount + "/shop/" + name}
				}
				world.Denied = func(*testing.T) secret.Ref {
					r.put(mount, "other/qm-denied", map[string]any{"password": providertest.Marker})
					return secret.Ref{Provider: "vault", Path: mount + "/other/qm-denied"}
				}
				world.Requests = func() int { return int(w.reads.Load()) }
				return world
			})
		})
	}
}
