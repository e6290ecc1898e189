//go:build integration

package render_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/inject/render"
)

// tool runs a program over the files and returns all that it says.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestJavaAndOpenSSLOpenTheKeystores: the programs that they are for find the
// right entries in them, under the right names.
func TestJavaAndOpenSSLOpenTheKeystores(t *testing.T) {
	const password = "p@ss word~1"
	for _, kind := range []string{"rsa", "ecdsa"} {
		made, dir := issue(t, kind), t.TempDir()
		for _, format := range []string{"pkcs12", "jks"} {
			got, err := files(t, renderer(t, nil), keystoreWant(t, format), render.Input{Secret: plain(made.fields), Password: secret.NewValue([]byte(password))})
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range got {
				path := filepath.Join(dir, filepath.Base(name))
				write(t, path, content)
				checkWithKeytool(t, path, password)
			}
		}
		checkWithOpenSSL(t, filepath.Join(dir, "keystore.p12"), password, made)
	}
}

func checkWithKeytool(t *testing.T, path, password string) {
	t.Helper()
	listed := tool(t, "keytool", "-list", "-v", "-keystore", path, "-storepass", password, "-J-Duser.language=en")
	expected := []string{"Your keystore contains 1 entry", "Alias name: timeline", "Entry type: PrivateKeyEntry", "Certificate chain length: 3",
		"Owner: CN=timeline.internal", "Owner: CN=intermediate", "Owner: CN=root"}
	if strings.HasPrefix(filepath.Base(path), "trust") {
		expected = []string{"Your keystore contains 2 entries", "Alias name: timeline", "Alias name: timeline-2", "Entry type: trustedCertEntry",
			"Owner: CN=intermediate", "Owner: CN=root"}
	}
	for _, text := range expected {
		if !strings.Contains(listed, text) {
			t.Errorf("%s: keytool does not say %q:\n%s", path, text, listed)
		}
	}
	if !strings.HasPrefix(filepath.Base(path), "key") {
		return
	}
	// Only who can open the private key can sign with it.
	request := tool(t, "keytool", "-certreq", "-alias", "timeline", "-keystore", path, "-storepass", password)
	if !strings.Contains(request, "BEGIN NEW CERTIFICATE REQUEST") {
		t.Errorf("%s: keytool does not sign with the key:\n%s", path, request)
	}
}

func checkWithOpenSSL(t *testing.T, path, password string, made issued) {
	t.Helper()
	key := tool(t, "openssl", "pkcs12", "-in", path, "-passin", "pass:"+password, "-nodes", "-nocerts")
	if !strings.Contains(key, "friendlyName: timeline") || !strings.Contains(key, strings.TrimSpace(pemOfKey(t, made.key))) {
		t.Errorf("%s: openssl finds another key, or another name", path)
	}
	certificates := tool(t, "openssl", "pkcs12", "-in", path, "-passin", "pass:"+password, "-nokeys")
	for _, one := range []string{pemOf(made.leaf), pemOf(made.intermediate.certificate), pemOf(made.root.certificate)} {
		if !strings.Contains(certificates, one) {
			t.Errorf("%s: openssl does not find\n%s", path, one)
		}
	}
}
