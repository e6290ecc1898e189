package vaultlogin_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
)

// client is a client for v that is done with when the test is.
func client(t *testing.T, v *vault) *vaultclient.Client {
	t.Helper()
	c, err := vaultclient.New(vaultclient.Config{Address: address, Dial: v.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestNewRefuses(t *testing.T) {
	v := newVault(t)
	good := vaultlogin.Options{Client: client(t, v), Attestor: &host{}, Role: "r", Logger: (&logText{}).logger()}
	for want, change := range map[string]func(*vaultlogin.Options){
		"vault.role is empty":                            func(o *vaultlogin.Options) { o.Role = "" },
		`vault.mount "a/../sys": write where`:            func(o *vaultlogin.Options) { o.Mount = "a/../sys" },
		`vault.mount "/": write where`:                   func(o *vaultlogin.Options) { o.Mount = "/" },
		`vault.mount "aws?x": write where`:               func(o *vaultlogin.Options) { o.Mount = "aws?x" },
		"needs a client, an attestor and a logger":       func(o *vaultlogin.Options) { o.Client = nil },
		"a Vault login needs a client, an attestor and ": func(o *vaultlogin.Options) { o.Attestor = nil },
		"a Vault login needs a client, an attestor":      func(o *vaultlogin.Options) { o.Logger = nil },
	} {
		options := good
		change(&options)
		if _, err := vaultlogin.New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	for _, mount := range []string{"", "aws", "auth/aws", "/team/aws-eu/"} {
		options := good
		options.Mount = mount
		if _, err := vaultlogin.New(options); err != nil {
			t.Errorf("mount %q: %v", mount, err)
		}
	}
}

// Each error says where, as what, what Vault said and what to do.
func TestLoginErrors(t *testing.T) {
	const where = `Vault at http://127.0.0.1:8200, auth method at auth/aws, role "docker-host": `
	for name, c := range map[string]struct {
		fault func(string, http.ResponseWriter) bool
		kind  error
		want  string
	}{
		"400": {answering(400, "IAM Principal does not belong to the role"), auth.ErrRefused,
			"login refused: " + where + "Vault refuses the request (400): IAM Principal does not belong to the role (this host is role/docker-host on i-0abc)"},
		"403": {answering(403, "permission denied"), auth.ErrRefused,
			where + "Vault denies it (403): permission denied (is an auth method of type aws mounted at auth/aws? see vault.mount)"},
		"404": {answering(404, "no handler for route"), auth.ErrRefused,
			where + "Vault has nothing there (404): no handler for route (is an auth method of type aws mounted at auth/aws? see vault.mount)"},
		"429":        {answering(429, "rate limit quota exceeded"), auth.ErrUnavailable, where + "Vault limits requests (429): rate limit quota exceeded"},
		"500":        {answering(500, "internal error"), auth.ErrUnavailable, where + "Vault failed (500): internal error"},
		"503":        {answering(503, "Vault is sealed"), auth.ErrUnavailable, where + "Vault is sealed or not ready (503): unseal it, or wait"},
		"proxy":      {raw(403, "<h1>Blocked</h1>"), auth.ErrUnavailable, where + "what answered 403 is not Vault's API"},
		"no token":   {raw(200, `{"data":{}}`), auth.ErrRefused, where + "the answer holds no token"},
		"no content": {raw(204, ""), auth.ErrRefused, where + "the answer holds no token"},
		"not JSON":   {raw(200, `<h1>Hello</h1>`), auth.ErrUnavailable, where + "the answer is not Vault's"},
		"reset":      {func(string, http.ResponseWriter) bool { panic(http.ErrAbortHandler) }, auth.ErrUnavailable, where + "Vault cannot be reached (EOF)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t)
				v.set(func() { v.fault = c.fault })
				source, _ := start(t, v)
				_, err := tryWithin(source, 100*time.Millisecond)
				wantError(t, err, c.kind, c.want)
			})
		})
	}
}

func TestSlowVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() {
			v.fault = func(string, http.ResponseWriter) bool {
				time.Sleep(time.Minute)
				return true
			}
		})
		source, _ := start(t, v)
		_, err := tryWithin(source, 15*time.Second)
		wantError(t, err, auth.ErrUnavailable, "Vault did not answer in time")
	})
}

// raw answers with a body that need not be Vault's.
func raw(status int, body string) func(string, http.ResponseWriter) bool {
	return func(_ string, w http.ResponseWriter) bool {
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}
