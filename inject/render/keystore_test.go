package render_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"testing"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject/render"
)

// keystoreWant is a wish for a keystore with a password of its own.
func keystoreWant(t *testing.T, format string) workload.Want {
	t.Helper()
	w := want(t, "v:pki/issue/t", format)
	ref, err := secret.ParseRef("v:kv/pass#word")
	if err != nil {
		t.Fatal(err)
	}
	w.Password = &ref
	return w
}

func TestKeystores(t *testing.T) {
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		made := issue(t, kind)
		authorities := []*x509.Certificate{made.intermediate.certificate, made.root.certificate}
		for password, w := range map[string]func(format string) workload.Want{
			"changeit":    func(format string) workload.Want { return want(t, "v:pki/issue/t", format) },
			"p@ss word~1": func(format string) workload.Want { return keystoreWant(t, format) },
		} {
			in := render.Input{Secret: plain(made.fields), Password: secret.NewValue([]byte(password))}
			if password == "changeit" {
				in.Password = secret.Value{}
			}
			got, err := files(t, renderer(t, nil), w("pkcs12"), in)
			if err != nil || len(got) != 2 {
				t.Fatalf("%s: %d files, %v", kind, len(got), err)
			}
			checkPKCS12(t, got, password, made, authorities)
			if got, err = files(t, renderer(t, nil), w("jks"), in); err != nil || len(got) != 2 {
				t.Fatalf("%s: %d files, %v", kind, len(got), err)
			}
			checkJKS(t, got, password, made, authorities)
		}
	}
}

func checkPKCS12(t *testing.T, got map[string]string, password string, made issued, authorities []*x509.Certificate) {
	t.Helper()
	key, leaf, chain, err := pkcs12.DecodeChain([]byte(got["Timeline/keystore.p12"]), password)
	if err != nil || !leaf.Equal(made.leaf) || !slices.EqualFunc(chain, authorities, (*x509.Certificate).Equal) {
		t.Errorf("keystore: %v", err)
	}
	if !made.key.(interface {
		Equal(x crypto.PrivateKey) bool
	}).Equal(key) {
		t.Error("keystore: another key")
	}
	trusted, err := pkcs12.DecodeTrustStore([]byte(got["Timeline/truststore.p12"]), password)
	if err != nil || !slices.EqualFunc(trusted, authorities, (*x509.Certificate).Equal) {
		t.Errorf("truststore: %v", err)
	}
}

func checkJKS(t *testing.T, got map[string]string, password string, made issued, authorities []*x509.Certificate) {
	t.Helper()
	store := jks.New()
	if err := store.Load(strings.NewReader(got["Timeline/keystore.jks"]), []byte(password)); err != nil {
		t.Fatal(err)
	}
	entry, err := store.GetPrivateKeyEntry("timeline", []byte(password))
	der, _ := x509.MarshalPKCS8PrivateKey(made.key)
	if err != nil || !bytes.Equal(entry.PrivateKey, der) || len(entry.CertificateChain) != 3 || !bytes.Equal(entry.CertificateChain[0].Content, made.leaf.Raw) {
		t.Errorf("keystore: %v, %d certificates", err, len(entry.CertificateChain))
	}
	trust := jks.New(jks.WithOrderedAliases())
	if err := trust.Load(strings.NewReader(got["Timeline/truststore.jks"]), []byte(password)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(trust.Aliases(), []string{"timeline", "timeline-2"}) {
		t.Errorf("truststore: %v", trust.Aliases())
	}
	if first, err := trust.GetTrustedCertificateEntry("timeline"); err != nil || !bytes.Equal(first.Certificate.Content, authorities[0].Raw) {
		t.Errorf("truststore: %v", err)
	}
}

// TestKeystoresAreTheSameForTheSameInput: an agent that was restarted must not
// take its own output for a rotation, and a real one must not look like none.
func TestKeystoresAreTheSameForTheSameInput(t *testing.T) {
	made := issue(t, "ecdsa")
	for _, format := range []string{"pkcs12", "jks"} {
		in := render.Input{Secret: plain(made.fields), Password: secret.NewValue([]byte("password-1"))}
		first, err := files(t, renderer(t, nil), keystoreWant(t, format), in)
		if err != nil {
			t.Fatal(err)
		}
		again, err := files(t, renderer(t, nil), keystoreWant(t, format), in)
		if err != nil || !maps.Equal(first, again) {
			t.Errorf("%s: not the same again, %v", format, err)
		}
		in.Password = secret.NewValue([]byte("password-2"))
		other, err := files(t, renderer(t, nil), keystoreWant(t, format), in)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range first {
			if other[name] == content {
				t.Errorf("%s is the same under another password", name)
			}
		}
	}
}

func TestKeystorePasswordsRefuse(t *testing.T) {
	made := issue(t, "ecdsa")
	for _, c := range []struct{ format, password, want string }{
		{"jks", "12345", "the keystore's password (v:kv/pass#word) has 5 characters: jks needs at least 6"},
		{"jks", "", "the keystore's password (v:kv/pass#word) has 0 characters"},
		{"pkcs12", "", "the keystore's password (v:kv/pass#word) has 0 characters: pkcs12 needs at least 1"},
		{"pkcs12", "hidden\n", "the keystore's password (v:kv/pass#word) may hold printable ASCII only, and no line break at its end"},
		{"jks", "hiddené", "may hold printable ASCII only"},
	} {
		_, err := files(t, renderer(t, nil), keystoreWant(t, c.format), render.Input{Secret: plain(made.fields), Password: secret.NewValue([]byte(c.password))})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s %q: %v; want %s", c.format, c.password, err, c.want)
		}
	}
}
