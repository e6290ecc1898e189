package render_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/inject/render"
)

func TestCertificateFiles(t *testing.T) {
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		made := issue(t, kind)
		for _, format := range []string{"", "pem"} {
			got, err := files(t, renderer(t, nil), want(t, "v:pki/issue/t", format), render.Input{Secret: plain(made.fields)})
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			for name, content := range map[string]string{
				"Timeline/tls.crt": pemOf(made.leaf, made.intermediate.certificate, made.root.certificate),
				"Timeline/tls.key": pemOfKey(t, made.key),
				"Timeline/ca.crt":  pemOf(made.intermediate.certificate, made.root.certificate),
			} {
				if got[name] != content {
					t.Errorf("%s: %s holds\n%s\nwant\n%s", kind, name, got[name], content)
				}
			}
			if _, err := tls.X509KeyPair([]byte(got["Timeline/tls.crt"]), []byte(got["Timeline/tls.key"])); err != nil || len(got) != 3 {
				t.Errorf("%s: %d files, %v", kind, len(got), err)
			}
		}
	}
}

func TestCertificateFilesOfLess(t *testing.T) {
	made := issue(t, "ecdsa")
	bundle := "# from a store\n" + pemOf(made.intermediate.certificate, made.leaf) + pemOfKey(t, made.key)
	alone := map[string]string{"certificate": pemOf(made.leaf), "private_key": pemOfKey(t, made.key)}
	issuer := maps.Clone(alone)
	issuer["issuing_ca"] = pemOf(made.intermediate.certificate)
	for name, c := range map[string]struct {
		ref    string
		fields map[string]string
		chain  string
		ca     string
	}{
		"a certificate alone":      {"v:kv/a", alone, pemOf(made.leaf), ""},
		"only the issuer is known": {"v:kv/a", issuer, pemOf(made.leaf, made.intermediate.certificate), pemOf(made.intermediate.certificate)},
		"all in the only field":    {"v:kv/a", map[string]string{"value": bundle}, pemOf(made.leaf, made.intermediate.certificate), pemOf(made.intermediate.certificate)},
		"all in the field that is chosen": {"v:kv/a#bundle", map[string]string{"bundle": bundle, "ca_chain": "not to be read"},
			pemOf(made.leaf, made.intermediate.certificate), pemOf(made.intermediate.certificate)},
	} {
		got, err := files(t, renderer(t, nil), want(t, c.ref, "pem"), render.Input{Secret: plain(c.fields)})
		if err != nil || got["Timeline/tls.crt"] != c.chain || got["Timeline/ca.crt"] != c.ca || got["Timeline/tls.key"] == "" {
			t.Errorf("%s: %v, %v", name, slices.Sorted(maps.Keys(got)), err)
		}
		if _, there := got["Timeline/ca.crt"]; there != (c.ca != "") {
			t.Errorf("%s: an empty ca.crt", name)
		}
	}
}

// TestKeysInOlderForms: what OpenSSL and older stores write.
func TestKeysInOlderForms(t *testing.T) {
	for _, kind := range []string{"rsa", "ecdsa"} {
		made := issue(t, kind)
		block := &pem.Block{}
		switch key := made.key.(type) {
		case *rsa.PrivateKey:
			block = &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			block = &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
		}
		text := string(pem.EncodeToMemory(block))
		made.fields["private_key"] = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + text
		got, err := files(t, renderer(t, nil), want(t, "v:kv/a", "pem"), render.Input{Secret: plain(made.fields)})
		if err != nil || got["Timeline/tls.key"] != text {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestCertificateFilesRefuse(t *testing.T) {
	made, other := issue(t, "ecdsa"), issue(t, "rsa")
	encrypted := "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
	damaged := "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
	for _, c := range []struct{ field, value, want string }{
		{"private_key", other.fields["private_key"], `the private key in field "private_key" does not belong to a certificate in field "certificate"`},
		{"private_key", "", `field "private_key" holds no private key in PEM`},
		{"private_key", "c2VjcmV0", `field "private_key" holds no private key in PEM`},
		{"private_key", encrypted, `field "private_key": the private key is encrypted: keep it in the store as it is`},
		{"private_key", damaged, `field "private_key": the private key cannot be read: it is not PKCS #8, PKCS #1 or SEC 1`},
		{"private_key", made.fields["private_key"] + "\n" + made.fields["private_key"], `field "private_key" holds more than one private key`},
		{"private_key", made.fields["private_key"][:80], `field "private_key": it is not whole PEM: a block begins that is damaged or does not end`},
		{"certificate", "MIIB", `field "certificate" holds no certificate in PEM`},
		{"certificate", made.fields["private_key"], `field "certificate" holds no certificate in PEM`},
		{"certificate", strings.ReplaceAll(damaged, "PRIVATE KEY", "CERTIFICATE"), `field "certificate": a certificate in it cannot be read: `},
		{"ca_chain", pemOf(made.root.certificate)[:90], `field "ca_chain": it is not whole PEM`},
		{"issuing_ca", "root", `field "issuing_ca" holds no certificate in PEM`},
	} {
		fields := maps.Clone(made.fields)
		fields[c.field] = c.value
		for _, format := range []string{"pem", "pkcs12", "jks"} {
			got, err := files(t, renderer(t, nil), want(t, "v:kv/a", format), render.Input{Secret: plain(fields)})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || len(got) != 0 {
				t.Errorf("%s with a bad %s: %v; want %s", format, c.field, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("the error holds the value: %v", err)
			}
		}
	}
	_, err := files(t, renderer(t, nil), want(t, "v:kv/a", "pem"), render.Input{Secret: plain(several)})
	if !errors.Is(err, render.ErrField) || !strings.HasSuffix(err.Error(), "the fields are: PASSWORD, PORT, USER") {
		t.Errorf("no certificate at all: %v", err)
	}
}
