package vault

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// makers make the keys that a ref can ask for by key_type and key_bits. Those
// with no bits are what is made when only the type is given.
var makers = map[string]func() (crypto.Signer, error){
	"ec":       curve(elliptic.P256()),
	"ec 256":   curve(elliptic.P256()),
	"ec 384":   curve(elliptic.P384()),
	"ec 521":   curve(elliptic.P521()),
	"rsa":      modulus(2048),
	"rsa 2048": modulus(2048),
	"rsa 3072": modulus(3072),
	"rsa 4096": modulus(4096),
	"ed25519": func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	},
}

func curve(c elliptic.Curve) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return ecdsa.GenerateKey(c, rand.Reader) }
}

func modulus(bits int) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, bits) }
}

// newRequest makes a key and the request for its certificate, both PEM. The
// names stand in the request, where Vault's roles look for them by default.
func newRequest(ref secret.Ref) (request, key []byte, err error) {
	kind := strings.TrimSpace(cmp.Or(ref.Params.Get("key_type"), "ec") + " " + ref.Params.Get("key_bits"))
	maker, known := makers[kind]
	if !known {
		return nil, nil, fmt.Errorf("%w: %s: no key of key_type and key_bits %q: there are ec 256, 384, 521; rsa 2048, 3072, 4096; ed25519",
			providers.ErrInvalid, ref.Path, kind)
	}
	template, err := newTemplate(ref)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", providers.ErrInvalid, ref.Path, err)
	}
	signer, err := maker()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: making a key: %w", providers.ErrUnavailable, ref.Path, err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	if err != nil { // a name that is not ASCII, for one
		return nil, nil, fmt.Errorf("%w: %s: these names cannot stand in a certificate: %w", providers.ErrInvalid, ref.Path, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: encoding the key: %w", providers.ErrUnavailable, ref.Path, err)
	}
	defer clear(keyDER)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// newTemplate takes the names from the parameters as Vault does: in alt_names
// whatever holds an @ is an e-mail address.
func newTemplate(ref secret.Ref) (*x509.CertificateRequest, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: ref.Params.Get("common_name")}}
	for _, name := range ref.Params["alt_names"] {
		if strings.Contains(name, "@") {
			template.EmailAddresses = append(template.EmailAddresses, name)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	for _, text := range ref.Params["ip_sans"] {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, fmt.Errorf("ip_sans: %q is no IP address", text)
		}
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	for _, text := range ref.Params["uri_sans"] {
		uri, err := url.Parse(text)
		if err != nil || uri.Scheme == "" {
			return nil, fmt.Errorf("uri_sans: %q is no URI", text)
		}
		template.URIs = append(template.URIs, uri)
	}
	return template, nil
}
