package keyvault_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth/bounded"
	"github.com/quaymaster/quaymaster/auth/keyvault"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask makes one request of a server that answers as fault says.
func ask(t *testing.T, fault cloudsim.Fault) (content []byte, err error) {
	t.Helper()
	server, err := cloudsim.Start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var faults cloudsim.Faults
		faults.Set("", fault)
		faults.Strike(w, r, "")
	}), cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := keyvault.New(keyvault.Options{MaxAnswer: 64 << 10, Once: true})
	answer, err := transport.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

func TestTransport(t *testing.T) {
	challenge := func(text string) cloudsim.Fault {
		return cloudsim.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {text}}}
	}
	var unreachable *keyvault.Unreachable
	var tooLarge *bounded.TooLarge
	for name, c := range map[string]struct {
		fault cloudsim.Fault
		is    func(error) bool
	}{
		"answer":      {cloudsim.Fault{Status: 200, Body: "{}"}, func(err error) bool { return err == nil }},
		"challenge":   {challenge(`Bearer authorization="https://login.example/tenant", resource="x"`), func(err error) bool { return err == nil }},
		"no tenant":   {challenge(`Bearer authorization="", resource="x"`), func(err error) bool { return errors.Is(err, keyvault.ErrNotKeyVault) }},
		"redirect":    {cloudsim.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, func(err error) bool { return err == nil }},
		"cut":         {cloudsim.Fault{Reset: true}, func(err error) bool { return errors.As(err, &unreachable) }},
		"not whole":   {cloudsim.Fault{Status: 200, Header: http.Header{"Content-Length": {"99"}}, Body: "{"}, func(err error) bool { return errors.As(err, &unreachable) }},
		"too large":   {cloudsim.Fault{Status: 200, Body: strings.Repeat("x", 65<<10)}, func(err error) bool { return errors.As(err, &tooLarge) }},
		"just enough": {cloudsim.Fault{Status: 200, Body: strings.Repeat("x", 64<<10)}, func(err error) bool { return err == nil }},
	} {
		if content, err := ask(t, c.fault); !c.is(err) {
			t.Errorf("%s: %d bytes, %v", name, len(content), err)
		}
	}
}

func TestRead(t *testing.T) {
	const caller = "01234567-89ab-cdef-0123-456789abcdef"
	read := func(body string) keyvault.Answer {
		return keyvault.Read(&azcore.ResponseError{StatusCode: 403, RawResponse: &http.Response{
			Header: http.Header{"Retry-After": {"7"}}, Body: io.NopCloser(strings.NewReader(body))}})
	}
	whole := keyvault.Answer{Status: 403, Code: "Forbidden", Inner: "ForbiddenByRbac", Caller: caller, Address: "192.0.2.7", RetryAfter: "7"}
	for body, want := range map[string]keyvault.Answer{
		`{"error":{"code":"Forbidden","message":"Caller: oid=` + caller + `;\nClient address: 192.0.2.7","innererror":{"code":"ForbiddenByRbac"}}}`: whole,
		`{"error":{"code":"<b>","message":"oid=none Client address: ::::"}}`:                                                                        {Status: 403, RetryAfter: "7"},
		`{"error":{"code":"Unauthorized","message":"AKV10032: no"}}`:                                                                                {Status: 403, Code: "Unauthorized", Token: keyvault.ForeignIssuer, RetryAfter: "7"},
		`<html>`: {Status: 403, RetryAfter: "7"},
	} {
		if got := read(body); got != want {
			t.Errorf("%s: %+v", body, got)
		}
	}
	if got := whole.Who(); !strings.Contains(got, caller) {
		t.Error(got)
	}
}
