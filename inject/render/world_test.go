package render_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject/render"
)

// plain is a secret with these fields.
func plain(values map[string]string) secret.Secret {
	s := secret.Secret{Fields: map[string]secret.Value{}}
	for name, value := range values {
		s.Fields[name] = secret.NewValue([]byte(value))
	}
	return s
}

// want is a wish for a file, as labels would say it.
func want(t *testing.T, ref, format string) workload.Want {
	t.Helper()
	labels := map[string]string{"quaymaster.secret.Timeline": ref}
	if format != "" {
		labels["quaymaster.format.Timeline"] = format
	}
	wants, err := workload.ParseLabels(labels, nil)
	if err != nil {
		t.Fatal(err)
	}
	return wants.Items[0]
}

// renderer has the given templates.
func renderer(t *testing.T, templates map[string]string) *render.Renderer {
	t.Helper()
	dir := t.TempDir()
	for name, text := range templates {
		write(t, filepath.Join(dir, name+".tmpl"), text)
	}
	r, err := render.New(render.Options{Templates: dir})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// files renders, and returns contents by name.
func files(t *testing.T, r *render.Renderer, w workload.Want, in render.Input) (map[string]string, error) {
	t.Helper()
	rendered, err := r.Files(w, 0o440, in)
	contents := map[string]string{}
	for _, f := range rendered {
		if f.Mode != 0o440 {
			t.Errorf("%s has mode %o", f.Name, f.Mode)
		}
		contents[f.Name] = string(f.Value.Reveal()) // the test looks at it
	}
	return contents, err
}

// authority issues certificates for tests.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t *testing.T, name string, issuer *authority) *authority {
	t.Helper()
	key := newKey(t, "ecdsa")
	return &authority{sign(t, name, true, key, issuer), key}
}

func newKey(t *testing.T, kind string) (key crypto.Signer) {
	t.Helper()
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var serial = int64(1)

func sign(t *testing.T, name string, ca bool, key crypto.Signer, issuer *authority) *x509.Certificate {
	t.Helper()
	serial++
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func pemOf(list ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range list {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.String()
}

func pemOfKey(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// issued is a certificate as a store of certificates answers.
type issued struct {
	root, intermediate *authority
	leaf               *x509.Certificate
	key                crypto.Signer
	fields             map[string]string
}

func issue(t *testing.T, kind string) issued {
	t.Helper()
	root := newAuthority(t, "root", nil)
	intermediate := newAuthority(t, "intermediate", root)
	key := newKey(t, kind)
	leaf := sign(t, "timeline.internal", false, key, intermediate)
	return issued{root, intermediate, leaf, key, map[string]string{
		"certificate": strings.TrimSpace(pemOf(leaf)),
		"private_key": strings.TrimSpace(pemOfKey(t, key)),
		"issuing_ca":  pemOf(intermediate.certificate),
		"ca_chain":    `["` + strings.Join(strings.Split(pemOf(intermediate.certificate), "\n"), `\n`) + `", "` + strings.ReplaceAll(pemOf(root.certificate), "\n", `\n`) + `"]`,
		"serial":      "1",
	}}
}
