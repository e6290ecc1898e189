package vaultclient_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

const record = "_vault._tcp.example.internal."

// servers are Vaults that say their names.
type servers struct {
	dns       *dns
	authority *cloudsim.Authority
	ca        string
}

func newServers(t *testing.T) *servers {
	t.Helper()
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &servers{newDNS(t), authority, ca}
}

// start starts a server whose certificate is for names, and says where it is.
func (s *servers) start(t *testing.T, says string, names ...string) (_ *cloudsim.Server, port int) {
	t.Helper()
	server, err := cloudsim.Start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"data":{"says":"`+says+` to `+r.Host+r.URL.Path+`"}}`)
	}), cloudsim.Options{Authority: s.authority, Names: names})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	address, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if port, err = strconv.Atoi(address.Port()); err != nil {
		t.Fatal(err)
	}
	return server, port
}

// client is one that looks names up here.
func (s *servers) client(t *testing.T, config vaultclient.Config) *vaultclient.Client {
	t.Helper()
	config.CAFile, config.Resolver = s.ca, s.dns.resolver()
	return client(t, config)
}

// says is what the server answers that c finds.
func says(t *testing.T, c *vaultclient.Client) (string, error) {
	t.Helper()
	answer, err := c.Anonymous().Logical().ReadWithContext(t.Context(), "sys/x")
	if err != nil {
		return "", vaultclient.Classify(err)
	}
	return answer.Data["says"].(string), nil
}

func wantSays(t *testing.T, c *vaultclient.Client, want string) {
	t.Helper()
	if got, err := says(t, c); err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

func TestDiscovery(t *testing.T) {
	s := newServers(t)
	t.Setenv("VAULT_PROXY_ADDR", "http://127.0.0.1:1") // could not look a record up, and is not asked to
	first, port1 := s.start(t, "one", "example.internal")
	_, port2 := s.start(t, "two", "example.internal")
	s.dns.add(record, "vault-2.example.internal.", port2, 20)
	s.dns.add(record, "vault-1.example.internal.", port1, 10)
	s.dns.add(record, "vault-0.example.internal.", 1, 5) // nothing listens there
	c := s.client(t, vaultclient.Config{Address: "srv://" + strings.TrimSuffix(record, ".")})
	if c.Address() != "srv://_vault._tcp.example.internal" {
		t.Error(c.Address())
	}
	wantSays(t, c, "one to example.internal/v1/sys/x")
	wantSays(t, c, "one to example.internal/v1/sys/x")
	if n := s.dns.questions(record); n != 1 {
		t.Errorf("%d look-ups for one connection", n)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	wantSays(t, c, "two to example.internal/v1/sys/x")
}

// A record's name need not have a service, as in Consul's DNS.
func TestDiscoveryOfAPlainName(t *testing.T) {
	s := newServers(t)
	t.Setenv("VAULT_ADDR", "srv://vault.service.consul")
	_, port := s.start(t, "one", "vault.service.consul")
	s.dns.add("vault.service.consul.", "node-7.node.consul.", port, 1)
	wantSays(t, s.client(t, vaultclient.Config{}), "one to vault.service.consul/v1/sys/x")
}

// DNS does not say whom to trust: a server with a certificate for its own name
// only is not the one that the operator wrote.
func TestDiscoveryTrustsWhatWasWritten(t *testing.T) {
	s := newServers(t)
	_, port := s.start(t, "one", "vault-1.example.internal")
	s.dns.add(record, "vault-1.example.internal.", port, 1)
	s.dns.add("_http._tcp.example.internal.", "vault-1.example.internal.", port, 1)
	t.Setenv("VAULT_SRV_LOOKUP", "true")
	for _, address := range []string{"srv://_vault._tcp.example.internal", "https://example.internal"} {
		_, err := says(t, s.client(t, vaultclient.Config{Address: address}))
		failure, ok := errors.AsType[*vaultclient.Failure](err)
		if !ok || failure.Kind != vaultclient.Untrusted || !strings.Contains(err.Error(), "not example.internal") {
			t.Errorf("%s: %v", address, err)
		}
		wantSays(t, s.client(t, vaultclient.Config{Address: address, TLSServerName: "vault-1.example.internal"}), "one to example.internal/v1/sys/x")
	}
}

func TestDiscoveryWithoutAServer(t *testing.T) {
	s := newServers(t)
	s.dns.add("_none._tcp.example.internal.", ".", 0, 0) // RFC 2782: decidedly not available
	s.dns.add("_down._tcp.example.internal.", "vault-1.example.internal.", 1, 1)
	for name, want := range map[string]string{
		"_vault._tcp.example.internal": "_vault._tcp.example.internal has no SRV record that names a server: lookup _vault._tcp.example.internal",
		"_none._tcp.example.internal":  "_none._tcp.example.internal has no SRV record that names a server: DNS says that there is none",
		"_down._tcp.example.internal":  "as _down._tcp.example.internal says: dial tcp 127.0.0.1:1: connect: connection refused",
	} {
		_, err := says(t, s.client(t, vaultclient.Config{Address: "srv://" + name}))
		failure, ok := errors.AsType[*vaultclient.Failure](err)
		if !ok || failure.Kind != vaultclient.Unreachable || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// VAULT_SRV_LOOKUP is taken as Vault's own tools take it.
func TestDiscoveryByTheVariable(t *testing.T) {
	s := newServers(t)
	t.Setenv("VAULT_SRV_LOOKUP", "1")
	_, port := s.start(t, "one", "Vault.internal", "bare.internal")
	s.dns.add("_http._tcp.Vault.internal.", "vault-1.internal.", port, 1)
	c := s.client(t, vaultclient.Config{Address: "https://Vault.internal/behind"})
	wantSays(t, c, "one to Vault.internal/behind/v1/sys/x")
	if c.Anonymous().SRVLookup() {
		t.Error("the api package looks records up as well, and lets them say whom to trust")
	}

	// An address with a port says where Vault is, and so does a name without records.
	wantSays(t, s.client(t, vaultclient.Config{Address: "https://bare.internal:" + strconv.Itoa(port)}), "one to bare.internal:"+strconv.Itoa(port)+"/v1/sys/x")
	if n := s.dns.questions("_http._tcp.bare.internal."); n != 0 {
		t.Errorf("%d look-ups for an address with a port", n)
	}
	dialled := ""
	_, err := says(t, s.client(t, vaultclient.Config{Address: "https://bare.internal", Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		return nil, errors.New("far enough")
	}}))
	if err == nil || dialled != "bare.internal:443" || s.dns.questions("_http._tcp.bare.internal.") == 0 {
		t.Errorf("dialled %q: %v", dialled, err)
	}
}

func TestDiscoveryRefuses(t *testing.T) {
	t.Setenv("VAULT_SRV_LOOKUP", "true")
	for address, want := range map[string]string{
		"srv://_vault._tcp.example.internal:8200": "write it as srv://_vault._tcp.example.internal",
		"srv://_vault._tcp":                       "write it as srv://",
		"srv://127.0.0.1":                         "write it as srv://",
		"srv://":                                  "write it as srv://",
		"srv://example.internal/prefix":           "write it as srv://",
		"srv://user:hunter2@example.internal":     "write it as srv://",
		"https://user:hunter2@vault.internal":     "only scheme, host, port and path",
		"http://vault.internal":                   "in clear text",
	} {
		_, err := vaultclient.New(vaultclient.Config{Address: address})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
