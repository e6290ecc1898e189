//go:build integration

package vaultlogin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// shortTTL is the tokens' in these tests, so that trouble is met soon.
const shortTTL = 3 * time.Second

// newShortVault grants tokens that a login must follow every few seconds when
// renewal fails.
func newShortVault(t *testing.T, c *cloud, options realvault.Options) *realvault.Vault {
	t.Helper()
	v := newRealVault(t, c, options)
	writeRole(t, v, "docker-host", "docker-host", shortTTL, 0)
	return v
}

// told are the lines of the log that an operator sees, from a line on.
func (l *login) told(from int) (lines []string) {
	for line := range strings.Lines(l.log.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			lines = append(lines, line)
		}
	}
	return lines[from:]
}

// toldUntilLogin waits for the line about the last login, which is written
// after its token can be had, and counts the lines up to it.
func (l *login) toldUntilLogin(t *testing.T) int {
	t.Helper()
	until(t, "the line about the login", func() bool {
		lines := l.told(0)
		return len(lines) > 0 && strings.Contains(lines[len(lines)-1], "logged in to Vault")
	})
	return len(l.told(0))
}

// recovers breaks something, waits until it is noticed with an error of kind
// that says want, waits through many attempts, mends it and waits for a token
// that works. The log tells each change in one line.
func (l *login) recovers(t *testing.T, breakIt, mend func(), kind error, want string) {
	t.Helper()
	l.reads(t, within(t, l.Source, 30*time.Second))
	before := l.toldUntilLogin(t)
	breakIt()
	until(t, "the end of the token", func() bool { return !l.State().LoggedIn })
	time.Sleep(time.Second) // dozens of attempts at this backoff
	wantError(t, l.State().Err, kind, want)
	mend()
	until(t, "a login", func() bool { return l.State().LoggedIn })
	l.reads(t, within(t, l.Source, 30*time.Second))
	l.toldUntilLogin(t)
	l.wantLines(t, before, "no Vault token", "logged in to Vault")
}

// wantLines fails unless what is told from a line on are lines that say these
// words, in their order. Warnings that the token held goes on may come before:
// none, when there was no time for it, or two, when the reason changed.
func (l *login) wantLines(t *testing.T, from int, words ...string) {
	t.Helper()
	lines := l.told(from)
	rest := lines
	for len(rest) > len(words) && len(lines)-len(rest) < 2 && strings.Contains(rest[0], "the one held goes on") {
		rest = rest[1:]
	}
	fits := len(rest) == len(words)
	for i := 0; fits && i < len(words); i++ {
		fits = strings.Contains(rest[i], words[i])
	}
	if !fits {
		t.Errorf("not one line for each change:\n%s", strings.Join(lines, ""))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRealVaultRecovers(t *testing.T) {
	c := newCloud(t)
	v := newShortVault(t, c, realvault.Options{})
	ctx := t.Context()
	role := func() { writeRole(t, v, "docker-host", "docker-host", shortTTL, 0) }
	for _, trouble := range []struct {
		name          string
		breakIt, mend func()
		kind          error
		want          string
	}{
		{"killed", func() { must(t, v.Kill()) }, func() { must(t, v.Restart(ctx)) }, auth.ErrUnavailable, "Vault cannot be reached"},
		{"sealed", func() { must(t, v.Seal(ctx)) }, func() { must(t, v.Unseal(ctx)) }, auth.ErrUnavailable, "Vault is sealed"},
		{"role deleted", func() {
			_, err := v.Client().Logical().DeleteWithContext(ctx, "auth/aws/role/docker-host")
			must(t, err)
		}, role, auth.ErrRefused, "entry for role docker-host not found"},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			l := logIn(t, vaultclient.Config{Address: v.Address()})
			l.recovers(t, trouble.breakIt, trouble.mend, trouble.kind, trouble.want)
		})
	}
}

func TestRealVaultRevokedToken(t *testing.T) {
	c := newCloud(t)
	v := newRealVault(t, c, realvault.Options{}) // with a long token: only its use shows that it is gone
	l := logIn(t, vaultclient.Config{Address: v.Address()})
	token := within(t, l.Source, 30*time.Second)
	before := l.toldUntilLogin(t)
	must(t, v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), token.Accessor))
	together(20, func() {
		if retry, err := l.Refused(t.Context(), token); !retry || err != nil {
			t.Errorf("a revoked token: retry %v, %v", retry, err)
		}
		within(t, l.Source, 30*time.Second)
	})
	l.reads(t, within(t, l.Source, 30*time.Second))
	until(t, "the line about the next login", func() bool { return l.log.lines("INFO", "logged in to Vault") == 2 })
	l.wantLines(t, before, "Vault has forgotten the token", "logged in to Vault")
}

// The clock of the host goes wrong by an hour, and comes back: the metadata
// service's Date corrects what is signed, and no login fails. The log tells it
// once each way.
func TestRealVaultClock(t *testing.T) {
	c := newCloud(t)
	v := newShortVault(t, c, realvault.Options{})
	for name, shift := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			writeRole(t, v, "docker-host", "docker-host", shortTTL, shortTTL) // each token is followed by a login
			var wrong atomic.Int64
			attestor, err := aws.New(aws.Options{Now: func() time.Time { return time.Now().Add(time.Duration(wrong.Load())) }})
			must(t, err)
			l := logIn(t, vaultclient.Config{Address: v.Address()}, func(o *vaultlogin.Options) { o.Attestor = attestor })
			more := func() {
				t.Helper()
				before := l.log.lines("INFO", "logged in to Vault")
				until(t, "two more logins", func() bool { return l.log.lines("INFO", "logged in to Vault") >= before+2 })
				l.reads(t, within(t, l.Source, 30*time.Second))
			}
			more()
			wrong.Store(int64(shift))
			more()
			wrong.Store(0)
			more()
			if n := l.log.lines("INFO", "1h0m0s "+name); n != 1 {
				t.Errorf("%d lines about the clock:\n%s", n, l.log)
			}
			if l.log.lines("WARN", "")+l.log.lines("ERROR", "") > 0 {
				t.Errorf("trouble in the log:\n%s", l.log)
			}
		})
	}
}

// ca issues certificates for Vault's listener.
type ca struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newCA(t *testing.T, name string) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return &ca{key: key, certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}}
}

// encode signs a certificate and returns it as PEM.
func (a *ca) encode(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *ca) pem(t *testing.T) []byte { return a.encode(t, a.certificate, a.key) }

// certify puts a new certificate of a's into the directory of a Vault, whose
// own client is told to trust it too.
func (a *ca) certify(t *testing.T, v *realvault.Vault) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certificate := a.encode(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "vault"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key)
	dir := filepath.Dir(v.CAFile())
	must(t, os.WriteFile(filepath.Join(dir, "tls.crt"), certificate, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	v.Client().CloneConfig().HttpClient.Transport.(*http.Transport).TLSClientConfig.RootCAs.AppendCertsFromPEM(a.pem(t))
}

// Vault gets another certificate: of the same authority, which is no change to
// anyone, and of another, which is one until vault.ca_file names it.
func TestRealVaultCertificates(t *testing.T) {
	c := newCloud(t)
	v := newShortVault(t, c, realvault.Options{TLS: true})
	old, next := newCA(t, "old"), newCA(t, "next")
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(caFile, old.pem(t), 0o600))
	swap := func(to *ca) {
		must(t, v.Stop(t.Context()))
		to.certify(t, v)
		must(t, v.Restart(t.Context()))
	}
	swap(old)
	l := logIn(t, vaultclient.Config{Address: v.Address(), CAFile: caFile})
	l.reads(t, within(t, l.Source, 30*time.Second))

	swap(old)
	before := l.State().Expires
	until(t, "a renewal or a login", func() bool { return l.State().LoggedIn && l.State().Err == nil && l.State().Expires.After(before) })
	l.reads(t, within(t, l.Source, 30*time.Second))

	l.recovers(t, func() { swap(next) }, func() { must(t, os.WriteFile(caFile, next.pem(t), 0o600)) },
		auth.ErrUnavailable, "Vault's certificate is not trusted")
}

// A Vault Community ignores namespaces: the host is not logged in at its root.
func TestRealVaultIgnoresNamespaces(t *testing.T) {
	v := newRealVault(t, newCloud(t), realvault.Options{})
	l := logIn(t, vaultclient.Config{Address: v.Address(), Namespace: "team-a"})
	_, err := tryWithin(l.Source, 30*time.Second)
	wantError(t, err, auth.ErrRefused, `vault.namespace is "team-a", but this server is a Vault Community`)
	if n := requests(t, v, "auth/aws/login"); n != 0 {
		t.Errorf("%d logins at the root", n)
	}
}

// Batch tokens cannot be renewed: each is replaced before its end.
func TestRealVaultBatchTokens(t *testing.T) {
	v := newRealVault(t, newCloud(t), realvault.Options{})
	writeRole(t, v, "docker-host", "docker-host", shortTTL, 0)
	_, err := v.Client().Logical().WriteWithContext(t.Context(), "auth/aws/role/docker-host", map[string]any{"token_type": "batch"})
	must(t, err)
	l := logIn(t, vaultclient.Config{Address: v.Address()}, func(o *vaultlogin.Options) { o.RevokeOnShutdown = true })
	until(t, "three logins", func() bool {
		token := within(t, l.Source, 30*time.Second)
		l.reads(t, token)
		if token.Accessor != "" || token.Renewable || !strings.HasPrefix(string(token.Value.Reveal()), "hvb.") { // to see what kind it is
			t.Error("not a batch token")
		}
		return requests(t, v, "auth/aws/login") >= 3
	})
	if n := requests(t, v, "auth/token/renew-self"); n > 0 || l.log.lines("WARN", "")+l.log.lines("ERROR", "") > 0 {
		t.Errorf("%d renewals; the log says:\n%s", n, l.log)
	}
}

// One agent may hold tokens of several Vaults; trouble with one is none with the other.
func TestRealVaultsSideBySide(t *testing.T) {
	c := newCloud(t)
	one, other := newShortVault(t, c, realvault.Options{TLS: true}), newShortVault(t, c, realvault.Options{})
	first := logIn(t, vaultclient.Config{Address: one.Address(), CAFile: one.CAFile()})
	second := logIn(t, vaultclient.Config{Address: other.Address()})
	first.recovers(t, func() { must(t, one.Seal(t.Context())) }, func() {
		second.reads(t, within(t, second.Source, time.Second))
		must(t, one.Unseal(t.Context()))
	}, auth.ErrUnavailable, "Vault is sealed")
	if second.log.lines("WARN", "")+second.log.lines("ERROR", "") > 0 || requests(t, other, "auth/aws/login") != 1 {
		t.Errorf("the other Vault's log says:\n%s", second.log)
	}
}
