package vaultclient_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

// authority issues certificates for this test's servers and clients.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{certificate: template}
	a.pem, a.key = a.sign(t, template)
	return a
}

// issue is a certificate for 127.0.0.1, for a server or a client, and its key.
func (a *authority) issue(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	certificate, private := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// sign certifies a new key; the authority's own, when it has none yet.
func (a *authority) sign(t *testing.T, template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

func (a *authority) pair(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	certificate, key := a.issue(t, name)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// secured is a server whose certificate can be changed and which says who the
// client is, if it asks.
type secured struct {
	*httptest.Server
	certificate atomic.Pointer[tls.Certificate]
}

func newSecured(t *testing.T, certificate *tls.Certificate, clients *authority) *secured {
	t.Helper()
	s := &secured{}
	s.certificate.Store(certificate)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		w.Header().Set("Connection", "close") // so that each request meets the present certificate
		io.WriteString(w, `{"data":{"client":"`+name+`"}}`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes that fail on purpose
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config := &tls.Config{Certificates: []tls.Certificate{*s.certificate.Load()}}
		if clients != nil {
			config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
			config.ClientCAs.AppendCertsFromPEM(clients.pem)
		}
		return config, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// write replaces a file as those who rotate certificates do, by a rename.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// ask makes one request and returns who the server saw.
func ask(t *testing.T, c *vaultclient.Client) (client any, failure *vaultclient.Failure) {
	t.Helper()
	answer, err := c.Anonymous().Logical().ReadWithContext(t.Context(), "x")
	if failure = vaultclient.Classify(err); failure == nil {
		client = answer.Data["client"]
	}
	return client, failure
}

func wantUntrusted(t *testing.T, failure *vaultclient.Failure, want string) {
	t.Helper()
	if failure == nil || failure.Kind != vaultclient.Untrusted || !strings.Contains(failure.Error(), want) {
		t.Errorf("got %v, want … %s", failure, want)
	}
}

func TestAuthorityIsRotated(t *testing.T) {
	old, next := newAuthority(t, "old"), newAuthority(t, "next")
	server := newSecured(t, old.pair(t, "vault"), nil)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, old.pem)
	for name, config := range map[string]vaultclient.Config{
		"vault.ca_file": {Address: server.URL, CAFile: ca},
		"VAULT_CACERT":  {Address: server.URL},
	} {
		t.Run(name, func(t *testing.T) {
			if config.CAFile == "" {
				t.Setenv("VAULT_CACERT", ca)
			}
			write(t, ca, old.pem)
			server.certificate.Store(old.pair(t, "vault"))
			c := client(t, config)
			if _, failure := ask(t, c); failure != nil {
				t.Fatal(failure)
			}
			server.certificate.Store(old.pair(t, "vault, renewed"))
			if _, failure := ask(t, c); failure != nil {
				t.Errorf("another certificate of the same authority: %v", failure)
			}
			server.certificate.Store(next.pair(t, "vault"))
			_, failure := ask(t, c)
			wantUntrusted(t, failure, "set vault.ca_file")
			write(t, ca, []byte("half a certificate"))
			_, failure = ask(t, c)
			wantUntrusted(t, failure, "; the certificate files were replaced, but cannot be used: ")
			wantUntrusted(t, failure, "parse PEM in: "+ca)
			write(t, ca, next.pem)
			if _, failure := ask(t, c); failure != nil {
				t.Errorf("after the rotation: %v", failure)
			}
		})
	}
}

// A file that vanishes or breaks takes nothing away from what works.
func TestBrokenFilesLeaveTheLastGoodOnes(t *testing.T) {
	a := newAuthority(t, "a")
	server := newSecured(t, a.pair(t, "vault"), nil)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, a.pem)
	c := client(t, vaultclient.Config{Address: server.URL, CAFile: ca})
	write(t, ca, []byte("hello"))
	if _, failure := ask(t, c); failure != nil {
		t.Errorf("a broken file: %v", failure)
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	if _, failure := ask(t, c); failure != nil {
		t.Errorf("no file: %v", failure)
	}
}

func TestClientCertificate(t *testing.T) {
	a := newAuthority(t, "a")
	server := newSecured(t, a.pair(t, "vault"), a)
	dir := t.TempDir()
	ca, certificate, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	put := func(name string) {
		certificatePEM, keyPEM := a.issue(t, name)
		write(t, certificate, certificatePEM)
		write(t, key, keyPEM)
	}
	write(t, ca, a.pem)
	for name, config := range map[string]vaultclient.Config{
		"configured":      {Address: server.URL, CAFile: ca, ClientCertFile: certificate, ClientKeyFile: key},
		"the environment": {Address: server.URL, CAFile: ca},
	} {
		t.Run(name, func(t *testing.T) {
			put("host-1")
			if config.ClientCertFile == "" {
				t.Setenv("VAULT_CLIENT_CERT", certificate)
				t.Setenv("VAULT_CLIENT_KEY", key)
			}
			c := client(t, config)
			if who, failure := ask(t, c); failure != nil || who != "host-1" {
				t.Fatalf("%v, %v", who, failure)
			}
			certificatePEM, keyPEM := a.issue(t, "host-2")
			write(t, certificate, certificatePEM) // the key does not fit yet
			if who, failure := ask(t, c); failure != nil || who != "host-1" {
				t.Errorf("in the middle of a rotation: %v, %v", who, failure)
			}
			write(t, key, keyPEM)
			if who, failure := ask(t, c); failure != nil || who != "host-2" {
				t.Errorf("after the rotation: %v, %v", who, failure)
			}
		})
	}
	_, failure := ask(t, client(t, vaultclient.Config{Address: server.URL, CAFile: ca}))
	if failure == nil || failure.Kind != vaultclient.Untrusted || !strings.Contains(failure.Error(), "vault.client_cert_file") {
		t.Errorf("without a client certificate: %v", failure)
	}
}

func TestNewRefusesClientCertificates(t *testing.T) {
	a := newAuthority(t, "a")
	dir := t.TempDir()
	one, other := filepath.Join(dir, "one.pem"), filepath.Join(dir, "other.key")
	certificate, _ := a.issue(t, "one")
	_, key := a.issue(t, "other")
	write(t, one, certificate)
	write(t, other, key)
	for want, config := range map[string]vaultclient.Config{
		`vault.client_cert_file "` + one + `", vault.client_key_file "": set both or neither`:                 {ClientCertFile: one},
		`vault.client_cert_file "", vault.client_key_file "` + other + `": set both or neither`:               {ClientKeyFile: other},
		`vault.client_cert_file "` + one + `" with vault.client_key_file "` + other + `": tls: private key`:   {ClientCertFile: one, ClientKeyFile: other},
		`vault.client_cert_file "/no/such.pem" with vault.client_key_file "` + other + `": open /no/such.pem`: {ClientCertFile: "/no/such.pem", ClientKeyFile: other},
	} {
		config.Address = "https://vault.internal:8200"
		if _, err := vaultclient.New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}
