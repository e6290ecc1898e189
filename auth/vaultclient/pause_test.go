package vaultclient_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

func TestRetryAfter(t *testing.T) {
	const limited = `{"errors":["rate limit quota exceeded"]}`
	for name, c := range map[string]struct {
		status       int
		header, body string
		want         time.Duration
		kind         vaultclient.Kind
		text         string
	}{
		"seconds":           {429, "7", limited, 7 * time.Second, vaultclient.Limited, "Vault limits requests (429): rate limit quota exceeded"},
		"sealed":            {503, "30", `{"errors":["Vault is sealed"]}`, 30 * time.Second, vaultclient.Sealed, "unseal it, or wait: Vault is sealed"},
		"not there":         {429, "", limited, 0, vaultclient.Limited, "rate limit quota exceeded"},
		"zero":              {429, "0", limited, 0, vaultclient.Limited, "rate limit quota exceeded"},
		"not a number":      {429, "soon", limited, 0, vaultclient.Limited, "rate limit quota exceeded"},
		"negative":          {429, "-5", limited, 0, vaultclient.Limited, "rate limit quota exceeded"},
		"a day":             {429, "86400", limited, vaultclient.MaxRetryAfter, vaultclient.Limited, "rate limit quota exceeded"},
		"beyond any number": {429, "99999999999999999999", limited, 0, vaultclient.Limited, "rate limit quota exceeded"},
		"another status":    {500, "7", `{"errors":["internal error"]}`, 0, vaultclient.Failed, "Vault failed (500): internal error"},
		"a proxy":           {503, "7", "<h1>Busy</h1>", 7 * time.Second, vaultclient.Unreachable, "what answered 503 is not Vault's API"},
	} {
		c1 := vault(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", c.header)
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		_, err := c1.Anonymous().Logical().WriteWithContext(t.Context(), "auth/aws/login", nil)
		failure := vaultclient.Classify(err)
		if failure == nil || failure.RetryAfter != c.want || failure.Kind != c.kind || failure.Status != c.status || !strings.Contains(failure.Error(), c.text) {
			t.Errorf("%s: %+v", name, failure)
		}
	}
}

// A date counts from the moment of the answer.
func TestRetryAfterDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ ahead, want time.Duration }{
			{time.Minute, time.Minute}, {-time.Hour, 0}, {time.Hour, vaultclient.MaxRetryAfter},
		} {
			header := time.Now().Add(c.ahead).UTC().Format(http.TimeFormat)
			if got := vaultclient.RetryAfter(header, time.Now()); got != c.want {
				t.Errorf("%s ahead: %s", c.ahead, got)
			}
		}
	})
}

// An answer that breaks off says nothing about when to come back.
func TestRetryAfterCutShort(t *testing.T) {
	c := vault(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(429)
		io.WriteString(w, `{"errors":["rate li`)
	})
	_, err := c.Anonymous().Logical().ReadWithContext(t.Context(), "x")
	if failure := vaultclient.Classify(err); failure == nil || failure.RetryAfter != 0 || !strings.Contains(failure.Error(), "cut short") {
		t.Errorf("%+v", failure)
	}
}
