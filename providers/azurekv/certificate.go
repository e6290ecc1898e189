package azurekv

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// The fields of a certificate, which are those that Vault's PKI gives.
const (
	leafField   = "certificate" // PEM
	keyField    = "private_key" // PEM, PKCS #8
	chainField  = "ca_chain"    // PEM, from the issuer of the leaf upwards
	issuerField = "issuing_ca"  // PEM
)

// bundle is what the secret of a certificate holds.
type bundle struct {
	key          any                 // nil where the vault keeps it to itself
	certificates []*x509.Certificate // in any order
}

// pfxFields reads PKCS #12 in base64. Key Vault uses an empty password, also
// for what was imported with another.
func pfxFields(value string) (map[string]secret.Value, error) {
	content, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, unreadable("its content type says PKCS #12, and it is not base64")
	}
	defer clear(content)
	key, leaf, rest, err := pkcs12.DecodeChain(content, "")
	if err == nil {
		return bundle{key, append([]*x509.Certificate{leaf}, rest...)}.fields()
	}
	// A key that must not be exported is left out.
	if certificates, err := x509.ParseCertificates(content); err == nil && len(certificates) > 0 {
		return bundle{certificates: certificates}.fields()
	}
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, unreadable("it is PKCS #12 with a password: import it as a certificate (az keyvault certificate import), which takes that off, " +
			"or store it with another content type")
	}
	return nil, unreadable("its content type says PKCS #12, and it has no certificate with a private key in it: the certificate's policy may not let the key be exported")
}

// pemFields reads PEM blocks.
func pemFields(value string) (map[string]secret.Value, error) {
	var all bundle
	rest := []byte(value)
	defer clear(rest)
	for next := rest; ; {
		var block *pem.Block
		if block, next = pem.Decode(next); block == nil {
			break
		}
		if err := all.add(block); err != nil {
			return nil, err
		}
	}
	return all.fields()
}

// add takes one block. Parameters of a curve, and the like, are left out.
func (b *bundle) add(block *pem.Block) error {
	var err error
	switch block.Type {
	case "CERTIFICATE":
		var found *x509.Certificate
		if found, err = x509.ParseCertificate(block.Bytes); err == nil {
			b.certificates = append(b.certificates, found)
		}
	case "PRIVATE KEY":
		b.key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		b.key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		b.key, err = x509.ParseECPrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return unreadable("its private key is encrypted: store it as it is")
	}
	if err != nil {
		return unreadable("its block " + block.Type + " cannot be read")
	}
	return nil
}

func (b bundle) fields() (map[string]secret.Value, error) {
	chain, err := b.chain()
	if err != nil {
		return nil, err
	}
	fields := map[string]secret.Value{leafField: inPEM(chain[:1])}
	if len(chain) > 1 {
		fields[chainField], fields[issuerField] = inPEM(chain[1:]), inPEM(chain[1:2])
	}
	if b.key != nil {
		encoded, err := x509.MarshalPKCS8PrivateKey(b.key)
		if err != nil {
			return nil, unreadable("its private key has no PKCS #8 form")
		}
		defer clear(encoded)
		fields[keyField] = secret.NewValue(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	}
	return fields, nil
}

// chain puts the certificates in order: the leaf, who issued it, who issued
// that, and last what does not belong to them. Neither PKCS #12 nor those who
// import a file promise an order.
func (b bundle) chain() ([]*x509.Certificate, error) {
	left := slices.Clone(b.certificates)
	first := slices.IndexFunc(left, b.isLeaf)
	if first < 0 && len(left) == 0 {
		return nil, unreadable("its content type says that it is a certificate, and there is none in it")
	}
	if first < 0 {
		return nil, unreadable("none of its certificates belongs to its private key")
	}
	var ordered []*x509.Certificate
	for at := first; at >= 0; {
		last := left[at]
		ordered, left = append(ordered, last), slices.Delete(left, at, at+1)
		at = slices.IndexFunc(left, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil
		})
	}
	return append(ordered, left...), nil
}

// isLeaf: the certificate of the key; without a key, the first.
func (b bundle) isLeaf(c *x509.Certificate) bool {
	signer, hasKey := b.key.(crypto.Signer)
	if !hasKey {
		return true
	}
	public, canCompare := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return canCompare && public.Equal(signer.Public())
}

func inPEM(certificates []*x509.Certificate) secret.Value {
	var all []byte
	for _, c := range certificates {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return secret.NewValue(all)
}

// unreadable: the vault has it, and it is not what it says it is. The reason
// repeats nothing of it.
func unreadable(reason string) error {
	return fmt.Errorf("%w: %s", providers.ErrInvalid, reason)
}
