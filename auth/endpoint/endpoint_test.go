package endpoint_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth/endpoint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAccepted(t *testing.T) {
	for _, address := range []string{
		"https://vault.internal:8200", "https://vault.internal/behind/a/proxy", "https://[2001:db8::1]:8200", "https://10.0.0.1",
		"http://127.0.0.1:8200", "http://127.9.9.9", "http://localhost:8200", "http://[::1]:8200",
	} {
		if u, err := endpoint.Parse(address); err != nil || u.String() != address {
			t.Errorf("%s: %v, %v", address, u, err)
		}
	}
}

func TestRefused(t *testing.T) {
	const form, parts, clear = "write it as https://host:port", "only scheme, host, port and path", "in clear text: use https"
	for address, want := range map[string]string{
		"": form, "vault.internal": form, "vault.internal:8200": form, "https://": form, "https://:8200": form,
		"ftp://vault.internal": form, "unix:///run/vault.sock": form, "https://a b": form, "https://u:hunter2@a b": form,
		"https://u:hunter2@vault": parts, "http://u:hunter2@127.0.0.1": parts, "https://vault/?token=hunter2": parts, "https://vault/#hunter2": parts,
		"http://vault.internal": clear, "http://10.0.0.1": clear, "http://127.0.0.1.example.org": clear, "http://localhost.example.org": clear,
		"http://0.0.0.0": clear, "http://[::ffff:10.0.0.1]": clear,
	} {
		_, err := endpoint.Parse(address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %q", address, err, want)
		}
	}
}
