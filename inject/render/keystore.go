package render

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
)

// minJKSPassword is the shortest password that Java accepts for a keystore of
// its own format (keytool(1), -storepass).
const minJKSPassword = 6

// keystores are the two files that Java and its kin expect: the key with its
// chain, and where authorities are known, those to trust.
func keystores(w workload.Want, f fields, given secret.Value) ([]content, error) {
	password, err := passwordOf(w, given)
	if err != nil {
		return nil, err
	}
	c, err := parseCertificate(f)
	if err != nil {
		return nil, err
	}
	defer c.wipe()
	k := keystore{certificate: c, alias: strings.ToLower(w.Name), password: password}
	own, trust, ending := k.pkcs12, k.pkcs12Trust, ".p12"
	if w.Format.Kind == workload.FormatJKS {
		own, trust, ending = k.jks, k.jksTrust, ".jks"
	}
	store, err := own()
	if err != nil {
		return nil, fmt.Errorf("make a keystore: %w", err)
	}
	files := []content{{"keystore" + ending, store}}
	if len(c.authorities) == 0 {
		return files, nil
	}
	if store, err = trust(); err != nil {
		return files, fmt.Errorf("make a truststore: %w", err)
	}
	return append(files, content{"truststore" + ending, store}), nil
}

// passwordOf checks the password. Only printable ASCII is encoded alike by
// everything that reads keystores.
func passwordOf(w workload.Want, given secret.Value) (string, error) {
	if w.Password == nil {
		return pkcs12.DefaultPassword, nil
	}
	password := given.Reveal() // the keystore is encrypted with it
	shortest := 1
	if w.Format.Kind == workload.FormatJKS {
		shortest = minJKSPassword
	}
	if len(password) < shortest {
		return "", fmt.Errorf("the keystore's password (%s) has %d characters: %s needs at least %d", w.Password, len(password), w.Format.Kind, shortest)
	}
	for _, c := range password {
		if c < ' ' || c > '~' {
			return "", fmt.Errorf("the keystore's password (%s) may hold printable ASCII only, and no line break at its end", w.Password)
		}
	}
	return string(password), nil
}

// keystore is what the two formats are made from.
type keystore struct {
	*certificate
	alias    string
	password string
}

func (k keystore) pkcs12() ([]byte, error) {
	store, err := pkcs12.Modern.WithRand(k.salts("pkcs12")).Encode(k.key, k.leaf, k.chain, k.password)
	if err != nil {
		return nil, err
	}
	return nameKey(store, k.alias, k.password)
}

func (k keystore) pkcs12Trust() ([]byte, error) {
	entries := make([]pkcs12.TrustStoreEntry, 0, len(k.authorities))
	for i, authority := range k.authorities {
		entries = append(entries, pkcs12.TrustStoreEntry{Cert: authority, FriendlyName: k.trustAlias(i)})
	}
	return pkcs12.Modern.WithRand(k.salts("pkcs12 trust")).EncodeTrustStoreEntries(entries, k.password)
}

func (k keystore) jks() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, errors.New("the private key has no PKCS #8 form")
	}
	defer clear(key)
	entry := jks.PrivateKeyEntry{CreationTime: k.leaf.NotBefore, PrivateKey: key}
	for _, c := range append([]*x509.Certificate{k.leaf}, k.chain...) {
		entry.CertificateChain = append(entry.CertificateChain, jks.Certificate{Type: "X.509", Content: c.Raw})
	}
	password := []byte(k.password)
	defer clear(password)
	store := jks.New(jks.WithOrderedAliases(), jks.WithCustomRandomNumberGenerator(k.salts("jks")))
	if err := store.SetPrivateKeyEntry(k.alias, entry, password); err != nil {
		return nil, err
	}
	return saved(store, password)
}

func (k keystore) jksTrust() ([]byte, error) {
	store := jks.New(jks.WithOrderedAliases())
	for i, authority := range k.authorities {
		if err := store.SetTrustedCertificateEntry(k.trustAlias(i), jks.TrustedCertificateEntry{
			CreationTime: authority.NotBefore, // the same for the same input
			Certificate:  jks.Certificate{Type: "X.509", Content: authority.Raw},
		}); err != nil {
			return nil, err
		}
	}
	password := []byte(k.password)
	defer clear(password)
	return saved(store, password)
}

func saved(store jks.KeyStore, password []byte) ([]byte, error) {
	var out bytes.Buffer
	err := store.Store(&out, password)
	return out.Bytes(), err
}

// trustAlias names the authorities: timeline, timeline-2, timeline-3.
func (k keystore) trustAlias(i int) string {
	if i == 0 {
		return k.alias
	}
	return fmt.Sprintf("%s-%d", k.alias, i+1)
}

// salts yields salts that are as good as random to those who do not know the
// key, and the same for the same input.
func (k keystore) salts(purpose string) io.Reader {
	mac := hmac.New(sha256.New, k.keyBlock.Bytes)
	for _, part := range []string{purpose, k.alias, k.password} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	for _, list := range [][]*x509.Certificate{{k.leaf}, k.chain, k.authorities} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(list))))
		for _, c := range list {
			mac.Write(c.Raw) // DER says how long it is
		}
	}
	return &stream{seed: mac.Sum(nil)}
}

// stream is HMAC-SHA256 in counter mode.
type stream struct {
	seed    []byte
	counter uint64
}

// Read implements io.Reader. It fills p and never fails.
func (s *stream) Read(p []byte) (int, error) {
	for filled := 0; filled < len(p); s.counter++ {
		mac := hmac.New(sha256.New, s.seed)
		mac.Write(binary.BigEndian.AppendUint64(nil, s.counter))
		filled += copy(p[filled:], mac.Sum(nil))
	}
	return len(p), nil
}
