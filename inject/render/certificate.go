package render

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// The fields of a certificate, as Vault names them.
const (
	fieldCertificate = "certificate"
	fieldKey         = "private_key"
	fieldChain       = "ca_chain"
	fieldIssuer      = "issuing_ca"
)

// The types of PEM blocks that count here.
const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY" // also with RSA or EC before it
)

// certificate is a certificate with everything that belongs to it.
type certificate struct {
	leaf  *x509.Certificate
	chain []*x509.Certificate // from the issuer of leaf upwards
	// authorities are all certificates of authorities that came along: who
	// trusts them trusts leaf.
	authorities []*x509.Certificate
	key         any
	keyBlock    *pem.Block
}

// certificate reports whether the fields are a certificate with its key.
func (f fields) certificate() bool {
	return f[fieldCertificate] != nil && f[fieldKey] != nil
}

// parseCertificate reads the fields of a certificate, or the only field as a
// PEM bundle of all of it.
func parseCertificate(f fields) (*certificate, error) {
	certificates, key := fieldCertificate, fieldKey
	if !f.certificate() {
		if len(f) != 1 {
			return nil, missing(fmt.Errorf("a certificate needs the fields %s and %s, and may have %s and %s, or it is one field with everything in PEM; the fields are: %s",
				fieldCertificate, fieldKey, fieldChain, fieldIssuer, strings.Join(f.names(), ", ")))
		}
		certificates = f.names()[0]
		key = certificates
	}
	c := &certificate{}
	var err error
	if c.keyBlock, c.key, err = parseKey(key, f[key]); err != nil {
		return nil, err
	}
	own, err := parseCertificates(certificates, f[certificates])
	if err == nil {
		err = c.arrange(own, f)
	}
	if err == nil && c.leaf == nil {
		err = fmt.Errorf("the private key in field %q does not belong to a certificate in field %q", key, certificates)
	}
	if err != nil {
		c.wipe()
		return nil, err
	}
	return c, nil
}

// arrange finds the leaf, which is the one that the key belongs to, and sorts
// the others into chain and authorities.
func (c *certificate) arrange(own []*x509.Certificate, f fields) error {
	chain, err := parseCertificates(fieldChain, f[fieldChain])
	if err != nil {
		return err
	}
	issuer, err := parseCertificates(fieldIssuer, f[fieldIssuer])
	if err != nil {
		return err
	}
	if len(chain) == 0 {
		chain = issuer
	}
	for _, candidate := range own {
		if c.leaf == nil && belongs(candidate, c.key) {
			c.leaf = candidate
			continue
		}
		c.chain = distinct(c.chain, candidate)
		if candidate.IsCA {
			c.authorities = distinct(c.authorities, candidate)
		}
	}
	c.chain = distinct(c.chain, chain...)
	c.authorities = distinct(distinct(c.authorities, issuer...), chain...)
	return nil
}

func (c *certificate) wipe() { clear(c.keyBlock.Bytes) }

// distinct appends those of more that are not in list yet.
func distinct(list []*x509.Certificate, more ...*x509.Certificate) []*x509.Certificate {
	for _, candidate := range more {
		known := false
		for _, c := range list {
			known = known || c.Equal(candidate)
		}
		if !known {
			list = append(list, candidate)
		}
	}
	return list
}

func belongs(c *x509.Certificate, key any) bool {
	signer, isSigner := key.(crypto.Signer)
	if !isSigner {
		return false
	}
	public, comparable := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return comparable && public.Equal(c.PublicKey)
}

// blocks takes PEM text apart. Several texts may also stand in a JSON array,
// which is how Vault gives a chain.
func blocks(text []byte) ([]*pem.Block, error) {
	if trimmed := bytes.TrimSpace(text); bytes.HasPrefix(trimmed, []byte("[")) {
		var list []string
		if json.Unmarshal(trimmed, &list) == nil {
			text = []byte(strings.Join(list, "\n"))
		}
	}
	var all []*pem.Block
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		all = append(all, block)
	}
	if bytes.Count(text, []byte("-----BEGIN ")) != len(all) {
		return nil, errors.New("it is not whole PEM: a block begins that is damaged or does not end")
	}
	return all, nil
}

func parseCertificates(field string, text []byte) (list []*x509.Certificate, err error) {
	all, err := blocks(text)
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", field, err)
	}
	for _, block := range all {
		if block.Type != blockCertificate {
			continue
		}
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("field %q: a certificate in it cannot be read: %w", field, err)
		}
		list = append(list, parsed)
	}
	if len(list) == 0 && len(bytes.TrimSpace(text)) > 0 {
		return nil, fmt.Errorf("field %q holds no certificate in PEM", field)
	}
	return list, nil
}

// parseKey finds the one private key in text. Its errors do not repeat those
// of the parsers, which were given the key.
func parseKey(field string, text []byte) (found *pem.Block, key any, err error) {
	all, err := blocks(text)
	if err != nil {
		return nil, nil, fmt.Errorf("field %q: %w", field, err)
	}
	for _, block := range all {
		switch {
		case strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
			return nil, nil, fmt.Errorf("field %q: the private key is encrypted: keep it in the store as it is", field)
		case !strings.HasSuffix(block.Type, blockKey):
		case found != nil:
			return nil, nil, fmt.Errorf("field %q holds more than one private key", field)
		default:
			found = block
		}
	}
	if found == nil {
		return nil, nil, fmt.Errorf("field %q holds no private key in PEM", field)
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
		func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
	} {
		if key, err := parse(found.Bytes); err == nil {
			return found, key, nil
		}
	}
	clear(found.Bytes)
	return nil, nil, fmt.Errorf("field %q: the private key cannot be read: it is not PKCS #8, PKCS #1 or SEC 1", field)
}

// pemFiles are the files that servers expect: tls.crt with the full chain,
// tls.key, and ca.crt where authorities are known.
func pemFiles(f fields) ([]content, error) {
	c, err := parseCertificate(f)
	if err != nil {
		return nil, err
	}
	defer c.wipe()
	chain, err := encodeCertificates(append([]*x509.Certificate{c.leaf}, c.chain...))
	if err != nil {
		return nil, err
	}
	key, err := encodePEM(&pem.Block{Type: c.keyBlock.Type, Bytes: c.keyBlock.Bytes})
	if err != nil {
		return nil, err
	}
	files := []content{{"tls.crt", chain}, {"tls.key", key}}
	if len(c.authorities) == 0 {
		return files, nil
	}
	authorities, err := encodeCertificates(c.authorities)
	return append(files, content{"ca.crt", authorities}), err
}

func encodeCertificates(list []*x509.Certificate) ([]byte, error) {
	all := make([]*pem.Block, 0, len(list))
	for _, c := range list {
		all = append(all, &pem.Block{Type: blockCertificate, Bytes: c.Raw})
	}
	return encodePEM(all...)
}

func encodePEM(all ...*pem.Block) ([]byte, error) {
	var out output
	for _, block := range all {
		if err := pem.Encode(&out, block); err != nil {
			return nil, err
		}
	}
	return out.done()
}
