package gcpsim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// signer is a key that signs JWTs, and the certificate that Google publishes
// for it. The key is made when it is first used, for that takes a while.
type signer struct {
	id   string
	made func() (pair, error)
}

type pair struct {
	key         *rsa.PrivateKey
	certificate string // PEM
}

func newSigner(env *cloudsim.Environment, name string) *signer {
	return &signer{id: env.Text(cloudsim.Hex, 40), made: sync.OnceValues(func() (pair, error) { return newPair(env, name) })}
}

func newPair(env *cloudsim.Environment, name string) (pair, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return pair{}, fmt.Errorf("making the key of %s: %w", name, err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: env.Now().Add(-time.Hour), NotAfter: env.Now().Add(16 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return pair{}, fmt.Errorf("making the certificate of %s: %w", name, err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return pair{key: key, certificate: string(certificate)}, nil
}

// certificates are those of keys, by their IDs.
func certificates(keys ...*signer) (map[string]string, error) {
	byID := map[string]string{}
	for _, key := range keys {
		made, err := key.made()
		if err != nil {
			return nil, err
		}
		byID[key.id] = made.certificate
	}
	return byID, nil
}

// sign is the JWT (RFC 7519) of claims, in JSON.
func (s *signer) sign(claims []byte) (string, error) {
	made, err := s.made()
	if err != nil {
		return "", err
	}
	header := fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"JWT"}`, s.id)
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	hash := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, made.key, crypto.SHA256, hash[:])
	if err != nil {
		return "", fmt.Errorf("signing a JWT: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// jwk is the public key as RFC 7517 writes it.
type jwk struct {
	ID        string `json:"kid"`
	Type      string `json:"kty"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	N         string `json:"n"`
	E         string `json:"e"`
}

func (s *signer) jwk() (jwk, error) {
	made, err := s.made()
	if err != nil {
		return jwk{}, err
	}
	encoded := base64.RawURLEncoding.EncodeToString
	return jwk{s.id, "RSA", "RS256", "sig", encoded(made.key.N.Bytes()), encoded(big.NewInt(int64(made.key.E)).Bytes())}, nil
}

// claims of an identity token. Email and Google are in full tokens only.
type claims struct {
	Audience string  `json:"aud"`
	Party    string  `json:"azp"`
	Email    string  `json:"email,omitempty"`
	Verified bool    `json:"email_verified,omitempty"`
	Expires  int64   `json:"exp"`
	Google   *google `json:"google,omitempty"`
	IssuedAt int64   `json:"iat"`
	Issuer   string  `json:"iss"`
	Subject  string  `json:"sub"`
}

type google struct {
	Instance computeEngine `json:"compute_engine"`
}

type computeEngine struct {
	Created       int64       `json:"instance_creation_timestamp"`
	ID            string      `json:"instance_id"`
	Name          string      `json:"instance_name"`
	ProjectID     string      `json:"project_id"`
	ProjectNumber json.Number `json:"project_number"`
	Zone          string      `json:"zone"`
}
