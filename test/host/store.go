package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
	"github.com/quaymaster/quaymaster/test/netns"
)

// Store is a secret store beside a Host that can be made to fail. The agent
// is led to it by Settings, for Host.Configure, and by Environment and
// Namespace, for the Host's fields of the same names.
type Store struct {
	Name        string // for people
	Settings    string // YAML
	Environment []string
	Namespace   *netns.Namespace // that it lives in; nil: the machine's
	// Pattern is what a grant of all that Put stores says.
	Pattern string
	// Ref names a secret that Put has stored, or has not.
	Ref func(name string) string
	Put func(ctx context.Context, name, value string) error
	// Faults are met by every request for a secret that is set for them with
	// an empty prefix.
	Faults *cloudsim.Faults
	// How this store says that it is asked too often, and an answer of which
	// nobody can make sense.
	Throttled, Garbage cloudsim.Fault

	servers []*cloudsim.Server
}

// Close ends the store.
func (s *Store) Close() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	if s.Namespace != nil {
		errs = append(errs, s.Namespace.Close())
	}
	return errors.Join(errs...)
}

// serve starts a server of the store's, in a network namespace or in none, and
// returns its URL.
func (s *Store) serve(in *netns.Namespace, handler http.Handler, o cloudsim.Options) (url string, err error) {
	var server *cloudsim.Server
	err = in.Do(func() (err error) {
		server, err = cloudsim.Start(handler, o)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("start %s: %w", s.Name, err)
	}
	s.servers = append(s.servers, server)
	return server.URL(), nil
}

// FrontOfVault stands in front of the Host's Vault: it passes everything on,
// unless it is to fail.
func (h *Host) FrontOfVault() (*Store, error) {
	target, err := url.Parse(h.Vault.Address())
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: nil, DisableKeepAlives: true}
	if file := h.Vault.CAFile(); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read Vault's authority: %w", err)
		}
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	}
	pass := &httputil.ReverseProxy{Transport: transport, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	faults := new(cloudsim.Faults)
	s := &Store{
		Name: "Vault", Faults: faults, Pattern: "vault:kv/outage/**",
		Ref: func(name string) string { return "vault:kv/outage/" + name },
		Put: func(ctx context.Context, name, value string) error {
			return h.Vault.PutSecret(ctx, "kv", "outage/"+name, map[string]any{"v": value})
		},
		Throttled: vaultsim.RateLimited(60), Garbage: vaultsim.Garbage,
	}
	address, err := s.serve(nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !faults.Strike(w, r, r.URL.Path) {
			pass.ServeHTTP(w, r)
		}
	}), cloudsim.Options{})
	s.Settings = fmt.Sprintf("vault: {address: %q, role: %s, server_id: %s}\n", address, Role, ServerID)
	return s, err
}
