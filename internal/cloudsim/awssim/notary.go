package awssim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Notary signs the identity documents of a region's instances. AWS has one per
// region and publishes its certificate, which Vault's aws auth method must hold
// (config/certificate/…). It may be used by several goroutines.
type Notary struct {
	certificate *x509.Certificate
	key         *rsa.PrivateKey
}

// NewNotary makes a notary that nobody trusts yet.
func NewNotary() (*Notary, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the notary's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{Organization: []string{"awssim"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making the notary's certificate: %w", err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the notary's certificate: %w", err)
	}
	return &Notary{certificate: made, key: key}, nil
}

// PEM is the notary's certificate, for those who shall trust it.
func (n *Notary) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.certificate.Raw})
}

// sign is the RSA signature of a document's SHA-256.
func (n *Notary) sign(document string) []byte {
	digest := sha256.Sum256([]byte(document))
	signature, _ := rsa.SignPKCS1v15(nil, n.key, crypto.SHA256, digest[:]) // fails for keys that are too short only
	return signature
}

// signature is what dynamic/instance-identity/signature answers.
func (n *Notary) signature(document string) string { return inLines(n.sign(document)) }

// The parts of PKCS#7 (RFC 2315) that a signed document has. There are no
// certificates in it: who verifies must have the notary's already.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version          int
		DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		Content          contentInfo
		Signers          []signerInfo `asn1:"set"`
	}
	signerInfo struct {
		Version             int
		Issuer              issuerAndSerial
		DigestAlgorithm     pkix.AlgorithmIdentifier
		EncryptionAlgorithm pkix.AlgorithmIdentifier
		Signature           []byte
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

// pkcs7 is what dynamic/instance-identity/rsa2048 answers: the document and its
// signature in one.
func (n *Notary) pkcs7(document string) string {
	digest := pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
	return inLines(encoded(contentInfo{Type: oidSignedData, Content: explicit(signedData{
		Version: 1, DigestAlgorithms: []pkix.AlgorithmIdentifier{digest},
		Content: contentInfo{Type: oidData, Content: explicit([]byte(document))},
		Signers: []signerInfo{{
			Version: 1, Issuer: issuerAndSerial{asn1.RawValue{FullBytes: n.certificate.RawIssuer}, n.certificate.SerialNumber},
			DigestAlgorithm: digest, EncryptionAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue},
			Signature: n.sign(document),
		}},
	})}))
}

// explicit is value in the explicit tag that contentInfo's fields have.
func explicit(value any) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: encoded(value)}
}

// encoded is the DER of a value whose type has one.
func encoded(value any) []byte {
	der, err := asn1.Marshal(value)
	if err != nil {
		panic(err) // a mistake in this file
	}
	return der
}

// inLines is base64 in lines of 64, as the service has it.
func inLines(content []byte) string {
	text := []byte(base64.StdEncoding.EncodeToString(content))
	var lines []string
	for line := range slices.Chunk(text, 64) {
		lines = append(lines, string(line))
	}
	return strings.Join(lines, "\n")
}
