package azurekv_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/providers"
)

const (
	pfxType = "application/x-pkcs12"
	pemType = "application/x-pem-file"
)

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate for key, signed by issuer; nil: by itself.
func issue(t *testing.T, name string, key crypto.Signer, issuer *issued) issued {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if issuer == nil {
		issuer = &issued{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issued{made, key}
}

func ec(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// authority is a root, an authority below it, and one that has nothing to do
// with either.
type authority struct{ root, middle, other issued }

func newAuthority(t *testing.T) authority {
	root := issue(t, "root", ec(t), nil)
	return authority{root, issue(t, "middle", ec(t), &root), issue(t, "other", ec(t), nil)}
}

// pfx is what Key Vault keeps of a certificate.
func pfx(t *testing.T, encoder *pkcs12.Encoder, password string, leaf issued, rest ...issued) string {
	t.Helper()
	var chain []*x509.Certificate
	for _, c := range rest {
		chain = append(chain, c.Certificate)
	}
	content, err := encoder.Encode(leaf.key, leaf.Certificate, chain, password)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(content)
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func certificates(all ...issued) (text string) {
	for _, c := range all {
		text += inPEM("CERTIFICATE", c.Raw)
	}
	return text
}

func pkcs8(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("PRIVATE KEY", der)
}

func TestCertificates(t *testing.T) {
	ca := newAuthority(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	web, byRSA, byEd := issue(t, "web", ec(t), &ca.middle), issue(t, "rsa", rsaKey, &ca.middle), issue(t, "ed", edKey, &ca.middle)
	alone, impostor := issue(t, "alone", ec(t), nil), issue(t, "middle", ec(t), &ca.root) // who has the name and not the key
	ecDER, err := x509.MarshalECPrivateKey(web.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	whole := func(leaf issued) map[string]string {
		return map[string]string{"certificate": certificates(leaf), "private_key": pkcs8(t, leaf.key),
			"ca_chain": certificates(ca.middle, ca.root), "issuing_ca": certificates(ca.middle)}
	}
	with := func(fields map[string]string, name, value string) map[string]string {
		if fields[name] = value; value == "" {
			delete(fields, name)
		}
		return fields
	}
	w := newWorld(t)
	for name, c := range map[string]struct {
		kind, value string
		want        map[string]string
	}{
		"pfx":             {pfxType, pfx(t, pkcs12.Modern, "", web, ca.middle, ca.root), whole(web)},
		"pfx-legacy":      {pfxType, pfx(t, pkcs12.LegacyDES, "", byRSA, ca.middle, ca.root), whole(byRSA)},
		"pfx-open":        {pfxType, pfx(t, pkcs12.Passwordless, "", web, ca.middle, ca.root), whole(web)},
		"pfx-unordered":   {pfxType, pfx(t, pkcs12.Modern, "", issued{ca.root.Certificate, web.key}, ca.middle, web), whole(web)},
		"pfx-stranger":    {pfxType, pfx(t, pkcs12.Modern, "", web, ca.other, ca.root, ca.middle), with(whole(web), "ca_chain", certificates(ca.middle, ca.root, ca.other))},
		"pfx-impostor":    {pfxType, pfx(t, pkcs12.Modern, "", web, impostor, ca.middle, ca.root), with(whole(web), "ca_chain", certificates(ca.middle, ca.root, impostor))},
		"pfx-alone":       {pfxType, pfx(t, pkcs12.Modern, "", alone), map[string]string{"certificate": certificates(alone), "private_key": pkcs8(t, alone.key)}},
		"pfx-without-key": {pfxType, base64.StdEncoding.EncodeToString(web.Raw), map[string]string{"certificate": certificates(web)}},
		"pem":             {pemType, pkcs8(t, web.key) + certificates(web, ca.middle, ca.root), whole(web)},
		"pem-unordered":   {pemType, "the shop's\n" + certificates(ca.root, ca.middle, byEd) + pkcs8(t, edKey), whole(byEd)},
		"pem-rsa":         {pemType, certificates(byRSA, ca.middle, ca.root) + inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), whole(byRSA)},
		"pem-ec": {pemType, inPEM("EC PARAMETERS", []byte{1}) + inPEM("EC PRIVATE KEY", ecDER) + certificates(web, ca.middle, ca.root),
			whole(web)},
		"pem-without-key": {pemType, certificates(web, ca.middle, ca.root), with(whole(web), "private_key", "")},
		"another-type":    {"text/plain", certificates(web), map[string]string{"value": certificates(web)}},
	} {
		w.vault.Put(name, azuresim.VaultSecret{Value: c.value, ContentType: c.kind, Managed: true})
		found := w.wants("azure:shop-kv/"+name, c.want)
		if _, hasKey := c.want["private_key"]; hasKey {
			serves(t, found)
		}
	}
}

// serves fails unless a TLS server can be made of the fields.
func serves(t *testing.T, found secret.Secret) {
	t.Helper()
	chain := bytes.Join([][]byte{found.Fields["certificate"].Reveal(), found.Fields["ca_chain"].Reveal()}, nil) // for the server
	if _, err := tls.X509KeyPair(chain, found.Fields["private_key"].Reveal()); err != nil {                     // for the server
		t.Errorf("%s: %v", found.Ref, err)
	}
}

func TestCertificatesThatAreNone(t *testing.T) {
	ca := newAuthority(t)
	web := issue(t, "web", ec(t), &ca.root)
	w := newWorld(t)
	for name, c := range map[string]struct{ kind, value, want string }{
		"not-base64":  {pfxType, mark + "!", "it is not base64"},
		"no-pfx":      {pfxType, base64.StdEncoding.EncodeToString([]byte(mark)), "no certificate with a private key in it: the certificate's policy"},
		"password":    {pfxType, pfx(t, pkcs12.Modern, "changeit", web), "PKCS #12 with a password: import it as a certificate"},
		"foreign-key": {pfxType, pfx(t, pkcs12.Modern, "", issued{ca.root.Certificate, web.key}), "none of its certificates belongs to its private key"},
		"empty":       {pemType, "", "there is none in it"},
		"only-a-key":  {pemType, pkcs8(t, web.key), "there is none in it"},
		"broken":      {pemType, inPEM("CERTIFICATE", []byte(mark)), "its block CERTIFICATE cannot be read"},
		"broken-key":  {pemType, certificates(web) + inPEM("PRIVATE KEY", []byte(mark)), "its block PRIVATE KEY cannot be read"},
		"encrypted":   {pemType, certificates(web) + inPEM("ENCRYPTED PRIVATE KEY", []byte(mark)), "its private key is encrypted"},
	} {
		w.vault.Put(name, azuresim.VaultSecret{Value: c.value, ContentType: c.kind})
		w.fails("azure:shop-kv/"+name, providers.ErrInvalid, c.want)
	}
}
