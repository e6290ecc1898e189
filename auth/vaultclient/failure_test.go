package vaultclient_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

func TestClassifyAnswers(t *testing.T) {
	token := strings.Repeat("IQoJb3JpZ2lu", 30)
	for _, c := range []struct {
		status  int
		body    string
		kind    vaultclient.Kind
		decided bool
		want    string
	}{
		{400, `{"errors":["entry for role \"x\" not found"]}`, vaultclient.Invalid, true, `Vault refuses the request (400): entry for role "x" not found`},
		{405, `{"errors":["unsupported operation"]}`, vaultclient.Invalid, true, "Vault refuses the request (405): unsupported operation"},
		{403, `{"errors":["permission denied"]}`, vaultclient.Denied, true, "Vault denies it (403): permission denied"},
		{403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, vaultclient.Denied, true,
			"Vault denies it (403): permission denied; invalid token"},
		{403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, vaultclient.Denied, true, "Vault denies it (403): permission denied"},
		{404, `{"errors":[]}`, vaultclient.NotFound, true, "Vault has nothing there (404)"},
		{429, `{"errors":["request path \"auth/aws/login\": rate limit quota exceeded"]}`, vaultclient.Limited, false,
			`Vault limits requests (429): request path "auth/aws/login": rate limit quota exceeded`},
		{503, `{"errors":["Vault is sealed"]}`, vaultclient.Sealed, false, "Vault is sealed or not ready (503): unseal it, or wait: Vault is sealed"},
		{500, `{"errors":["internal error"]}`, vaultclient.Failed, false, "Vault failed (500): internal error"},
		{502, `{"errors":["a","b"]}`, vaultclient.Failed, false, "Vault failed (502): a; b"},
		{403, "<html>\n<h1>Blocked</h1></html>", vaultclient.Unreachable, false,
			"what answered 403 is not Vault's API, but perhaps a proxy or another port: <html> <h1>Blocked</h1></html>"},
		{400, `{"errors":["STS: no match. The Canonical String for this request should have been\n x-amz-security-token:short"]}`, vaultclient.Invalid, true,
			"Vault refuses the request (400): STS: no match."},
		{403, `{"errors":["STS said:\n x-amz-security-token:` + token + ` end"]}`, vaultclient.Denied, true, "Vault denies it (403): STS said: […] end"},
	} {
		vault := vault(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		_, err := vault.Anonymous().Auth().Token().LookupSelfWithContext(t.Context())
		failure := vaultclient.Classify(err)
		if failure.Kind != c.kind || failure.Status != c.status || failure.Decided() != c.decided || failure.Error() != c.want {
			t.Errorf("%d %s: kind %d, status %d, decided %v\n got: %v\nwant: %s",
				c.status, c.body, failure.Kind, failure.Status, failure.Decided(), failure, c.want)
		}
		if dead := strings.Contains(c.body, "invalid token"); failure.InvalidToken() != dead {
			t.Errorf("%s: invalid token: %v", c.body, !dead)
		}
		if !errors.Is(failure, err) {
			t.Error("the failure hides its cause")
		}
	}
	if vaultclient.Classify(nil) != nil {
		t.Error("nil is a failure")
	}
}

func TestClassifyShortensLongMessages(t *testing.T) {
	vault := vault(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		io.WriteString(w, `{"errors":["`+strings.Repeat("word ", 1000)+`"]}`)
	})
	_, err := vault.Anonymous().Logical().ReadWithContext(t.Context(), "x")
	if text := vaultclient.Classify(err).Error(); len(text) > 700 || !strings.HasSuffix(text, "[…]") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

func TestClassifyUnusableAnswers(t *testing.T) {
	for body, want := range map[string]string{
		"<html>hello</html>": "the answer is not Vault's",
		`{"data":{"a":"b`:    "the answer is cut short",
		`{"data":{"a":"` + strings.Repeat("x", 9<<20) + `"}}`: "larger than 8 MiB",
	} {
		vault := vault(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		_, err := vault.Anonymous().Logical().ReadWithContext(t.Context(), "x")
		if failure := vaultclient.Classify(err); failure == nil || failure.Kind != vaultclient.Failed || !strings.Contains(failure.Error(), want) {
			t.Errorf("%.20s…: %v", body, failure)
		}
	}
}

func TestClassifyCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"data":{"a":1}}`) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes that fail on purpose
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := writeCA(t, server)
	for name, c := range map[string]struct {
		config vaultclient.Config
		want   string
	}{
		"unknown authority": {vaultclient.Config{}, "set vault.ca_file"},
		"another name":      {vaultclient.Config{CAFile: ca, TLSServerName: "other.internal"}, "use a name that it carries"},
	} {
		c.config.Address = server.URL
		_, err := client(t, c.config).Anonymous().Logical().ReadWithContext(t.Context(), "x")
		if failure := vaultclient.Classify(err); failure == nil || failure.Kind != vaultclient.Untrusted || failure.Decided() ||
			!strings.Contains(failure.Error(), c.want) || !strings.Contains(failure.Error(), "not trusted") {
			t.Errorf("%s: %v", name, failure)
		}
	}
	trusted := client(t, vaultclient.Config{Address: server.URL, CAFile: ca})
	if _, err := trusted.Anonymous().Logical().ReadWithContext(t.Context(), "x"); err != nil {
		t.Errorf("with vault.ca_file: %v", err)
	}
	t.Setenv("VAULT_CACERT", ca)
	fromEnvironment := client(t, vaultclient.Config{Address: server.URL})
	if _, err := fromEnvironment.Anonymous().Logical().ReadWithContext(t.Context(), "x"); err != nil {
		t.Errorf("with VAULT_CACERT: %v", err)
	}
}

func TestClassifyNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	listener.Close()
	stalled := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(stalled.Close)
	reset := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, _ := w.(http.Hijacker).Hijack()
		connection.Close()
	}))
	t.Cleanup(reset.Close)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		address string
		timeout time.Duration
		want    string
	}{
		"refused":   {t.Context(), closed, 0, "connection refused): check vault.address"},
		"plain":     {t.Context(), "https" + strings.TrimPrefix(reset.URL, "http"), 0, "Vault cannot be reached"},
		"reset":     {t.Context(), reset.URL, 0, "Vault cannot be reached (EOF)"},
		"stalled":   {t.Context(), stalled.URL, 50 * time.Millisecond, "did not answer in time"},
		"cancelled": {ended, stalled.URL, 0, "given up"},
	} {
		vault := client(t, vaultclient.Config{Address: c.address, Timeout: c.timeout})
		_, err := vault.Anonymous().Logical().ReadWithContext(c.ctx, "x")
		failure := vaultclient.Classify(err)
		if failure == nil || failure.Kind != vaultclient.Unreachable || failure.Decided() || !strings.Contains(failure.Error(), c.want) {
			t.Errorf("%s: %v", name, failure)
		}
	}
}
