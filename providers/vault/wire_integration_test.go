//go:build integration

package vault_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// wire stands between a provider and a real Vault: it counts, listens, and
// misbehaves when it is told to.
type wire struct {
	cloudsim.Faults // by Vault's path, without /v1/
	vault           *httputil.ReverseProxy

	mu    sync.Mutex
	reads int // of secrets
	said  bytes.Buffer
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
	w.mu.Lock()
	if !strings.HasPrefix(path, "sys/") && !strings.HasPrefix(path, "kv/metadata/") {
		w.reads++
	}
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

// Reads is how many requests there were for secrets.
func (w *wire) Reads() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads
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
