//go:build integration

package vault_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/test/realvault"
)

const pkiPolicy = `
path "pki/issue/*"        { capabilities = ["update"] }
path "pki/sign/*"         { capabilities = ["update"] }
path "pki/issuer/+/issue/web" { capabilities = ["update"] }
path "pki/cert/*"         { capabilities = ["read"] }
path "sys/leases/revoke"  { capabilities = ["update"] }
path "pki/issue/closed"   { capabilities = ["deny"] }
`

// newPKI is a Vault that issues certificates below prod.internal, and the
// authority's certificate.
func newPKI(t *testing.T) (r *real, ca string) {
	t.Helper()
	r = newReal(t)
	r.allow(pkiPolicy)
	ca = must[string](t)(r.EnablePKI(t.Context(), "pki"))
	role := realvault.PKIRole{Mount: "pki", Name: "web", Domains: []string{"prod.internal"}, TTL: 24 * time.Hour, MaxTTL: 72 * time.Hour}
	anyKey, long, leased := role, role, role
	anyKey.Name, anyKey.KeyType = "any", "any"
	long.Name, long.MaxTTL = "long", 0
	leased.Name, leased.Lease = "leased", true
	for _, role := range []realvault.PKIRole{role, anyKey, long, leased} {
		if err := r.WritePKIRole(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	return r, ca
}

// verified is the certificate that was fetched, whose key must be its own and
// which must be the authority's for all of names.
func verified(t *testing.T, found secret.Secret, ca string, names ...string) *x509.Certificate {
	t.Helper()
	got := texts(found)
	pair, err := tls.X509KeyPair([]byte(got["certificate"]), []byte(got["private_key"]))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca))
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, field := range []string{"certificate", "private_key", "issuing_ca", "ca_chain"} {
		if text := got[field]; !strings.HasPrefix(text, "-----BEGIN ") || !strings.HasSuffix(text, "-----\n") {
			t.Errorf("%s is no PEM that ends in a newline: %d bytes", field, len(text))
		}
	}
	if got["issuing_ca"] != strings.TrimSpace(ca)+"\n" || got["ca_chain"] != got["issuing_ca"] || strings.Count(got["serial_number"], ":") < 15 {
		t.Errorf("issuing_ca %q, ca_chain %q, serial %q", got["issuing_ca"], got["ca_chain"], got["serial_number"])
	}
	if end := found.Lease.Ends(); !end.Equal(pair.Leaf.NotAfter) || found.Lease.Renewable {
		t.Errorf("the lease ends at %s, the certificate at %s; %+v", end, pair.Leaf.NotAfter, found.Lease)
	}
	return pair.Leaf
}

func TestRealVaultIssuesCertificates(t *testing.T) {
	r, ca := newPKI(t)
	const ref = "vault:pki/issue/web?common_name=timeline.prod.internal&alt_names=a.prod.internal&alt_names=b.prod.internal&alt_names=c.prod.internal&ip_sans=127.0.0.1&uri_sans=spiffe://prod/timeline&ttl=2h"
	r.issues(ref, true)
	found := r.has(ref)
	leaf := verified(t, found, ca, "timeline.prod.internal", "a.prod.internal", "b.prod.internal", "c.prod.internal", "127.0.0.1")
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://prod/timeline" {
		t.Errorf("URIs %v", leaf.URIs)
	}
	if left := found.Lease.TTL; left <= time.Hour || left > 2*time.Hour+time.Minute || found.Lease.ID != "" {
		t.Errorf("lease %+v, asked for two hours", found.Lease)
	}
	again := verified(t, r.has(ref), ca)
	if again.SerialNumber.Cmp(leaf.SerialNumber) == 0 || again.PublicKey.(*ecdsa.PublicKey).Equal(leaf.PublicKey) {
		t.Error("two containers have one certificate or key")
	}
	verified(t, r.has("vault:pki/issuer/default/issue/web?common_name=d.prod.internal"), ca, "d.prod.internal")
	const authority = "vault:pki/cert/ca#certificate" // the same for all
	r.issues(authority, false)
	if got := texts(r.has(authority))["certificate"]; strings.TrimSpace(got) != strings.TrimSpace(ca) {
		t.Errorf("the authority is %q", got)
	}
}

// The key is made here: what went to Vault and came back holds none.
func TestRealVaultSignsCertificates(t *testing.T) {
	r, ca := newPKI(t)
	wire := r.listen()
	for params, check := range map[string]func(public any) bool{
		"": func(public any) bool { key, is := public.(*ecdsa.PublicKey); return is && key.Params().BitSize == 256 },
		"&key_type=ec&key_bits=384": func(public any) bool {
			key, is := public.(*ecdsa.PublicKey)
			return is && key.Params().BitSize == 384
		},
		"&key_type=rsa&key_bits=3072": func(public any) bool {
			key, is := public.(*rsa.PublicKey)
			return is && key.N.BitLen() == 3072
		},
		"&key_type=ed25519": func(public any) bool { _, is := public.(ed25519.PublicKey); return is },
	} {
		ref := "vault:pki/sign/any?common_name=timeline.prod.internal&alt_names=a.prod.internal&ip_sans=::1&uri_sans=spiffe://prod/x&ttl=1h" + params
		r.issues(ref, true)
		leaf := verified(t, r.has(ref), ca, "timeline.prod.internal", "a.prod.internal", "::1")
		if !check(leaf.PublicKey) || len(leaf.URIs) != 1 {
			t.Errorf("%s: a key of %T, URIs %v", params, leaf.PublicKey, leaf.URIs)
		}
	}
	if said := wire(); strings.Contains(said, "PRIVATE KEY") || !strings.Contains(said, "BEGIN CERTIFICATE REQUEST") || !strings.Contains(said, "BEGIN CERTIFICATE-") {
		t.Errorf("a private key crossed the network, or nothing was seen: %.200q", said)
	}
}

func TestRealVaultRefusesCertificates(t *testing.T) {
	r, _ := newPKI(t)
	for ref, want := range map[string]struct {
		kind  error
		texts []string
	}{
		"vault:pki/issue/web?common_name=shop.example":                                              {providers.ErrDenied, []string{"common name shop.example not allowed by this role", "allowed_domains"}},
		"vault:pki/sign/web?common_name=shop.example":                                               {providers.ErrDenied, []string{"common name shop.example not allowed by this role"}},
		"vault:pki/sign/web?common_name=a.prod.internal&alt_names=x.example":                        {providers.ErrDenied, []string{"subject alternate name x.example not allowed"}},
		"vault:pki/issue/web?common_name=a.prod.internal&uri_sans=http://x":                         {providers.ErrDenied, []string{"URI Subject Alternative Names", "allowed_uri_sans"}},
		"vault:pki/issue/none?common_name=a.prod.internal":                                          {providers.ErrNotFound, []string{"unknown role: none"}},
		"vault:pki/issue/closed?common_name=a.prod.internal":                                        {providers.ErrDenied, []string{`path "pki/issue/closed" { capabilities = ["update"] }`}},
		"vault:pki/issue/long?common_name=a.prod.internal&ttl=8760h":                                {providers.ErrDenied, []string{"beyond the expiration of the CA", "shorter ttl"}},
		"vault:pki/issue/web?ttl=1h":                                                                {providers.ErrInvalid, []string{"common_name"}},
		"vault:pki/issue/web?common_name=a.prod.internal&ttl=soon":                                  {providers.ErrInvalid, []string{"ttl"}},
		"vault:pki/issue/any?common_name=a.prod.internal":                                           {providers.ErrInvalid, []string{`"any" not allowed for issuing`}},
		"vault:pki/sign/web?common_name=a.prod.internal&key_type=rsa":                               {providers.ErrInvalid, []string{"role requires keys of type ec", "set key_type"}},
		"vault:pki/sign/web?common_name=a.prod.internal&key_type=dsa":                               {providers.ErrInvalid, []string{`"dsa"`, "ed25519"}},
		"vault:pki/sign/web?common_name=a.prod.internal&ip_sans=localhost":                          {providers.ErrInvalid, []string{`"localhost" is no IP address`}},
		"vault:pki/sign/web?common_name=a.prod.internal&alt_names=pässe.x":                          {providers.ErrInvalid, []string{"cannot stand in a certificate"}},
		"vault:pki/issue/web?common_name=a.prod.internal&alt_names=x.prod.internal,y.prod.internal": {providers.ErrInvalid, []string{"once for each name", "alt_names=a&alt_names=b"}},
		"vault:pki/issue/web?commonname=a.prod.internal":                                            {providers.ErrInvalid, []string{`no parameter "commonname"`, "common_name"}},
		"vault:pki/sign/web?common_name=a.prod.internal&csr=x":                                      {providers.ErrInvalid, []string{`no parameter "csr"`}},
		"vault:pki/issue/web?common_name=a.prod.internal@2":                                         {providers.ErrInvalid, []string{"keeps no versions: leave out @2"}},
		"vault:pki/issue/web?common_name=a.prod.internal&format=der":                                {providers.ErrInvalid, []string{`no parameter "format"`}},
		"vault:pki/issue?common_name=a.prod.internal":                                               {providers.ErrDenied, []string{`path "pki/issue"`}},
		"vault:pki/sign-verbatim/web?common_name=shop.example&method=write":                         {providers.ErrDenied, []string{`path "pki/sign-verbatim/web"`}},
		"vault:pki/issue/web?common_name=a.prod.internal&private_key_format=x":                      {providers.ErrInvalid, []string{"private_key_format"}},
	} {
		r.fails(ref, want.kind, want.texts...)
	}
}

// A role that keeps leases has its certificates revoked with them.
func TestRealVaultRevokesCertificates(t *testing.T) {
	r, ca := newPKI(t)
	found := r.has("vault:pki/issue/leased?common_name=a.prod.internal")
	verified(t, found, ca, "a.prod.internal")
	if found.Lease.ID == "" || found.Lease.Token != accessor {
		t.Fatalf("lease %+v", found.Lease)
	}
	if err := r.provider.Revoke(t.Context(), found.Lease); err != nil {
		t.Fatal(err)
	}
	about, err := r.Client().Logical().ReadWithContext(t.Context(), "pki/cert/"+texts(found)["serial_number"])
	if err != nil || slices.Contains([]string{"0", "<nil>"}, fmt.Sprint(about.Data["revocation_time"])) {
		t.Errorf("revoked at %v, %v", about, err)
	}
	if _, err := r.provider.Renew(t.Context(), found.Lease); !errors.Is(err, providers.ErrInvalid) {
		t.Errorf("a certificate was renewed: %v", err)
	}
}
