package azurekv_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/providers"
)

func TestWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	first := w.put("gone", "1")
	w.put("kept", "2")
	w.vault.Delete("gone")
	w.fails("azure:shop-kv/none", providers.ErrNotFound, host+" has no secret none", "az keyvault secret recover")
	w.fails("azure:shop-kv/gone", providers.ErrNotFound, host+" has no secret gone", "az keyvault secret recover")
	w.fails("azure:shop-kv/kept@"+first, providers.ErrNotFound, "has no version "+first+" of secret kept", "az keyvault secret list-versions")
}

func TestWhatMustNotBeUsed(t *testing.T) {
	w := newWorld(t)
	before, after := w.now.Add(-time.Hour), w.now.Add(time.Hour)
	for name, s := range map[string]azuresim.VaultSecret{
		"disabled": {Disabled: true}, "future": {NotBefore: after}, "expired": {Expires: before}, "good": {NotBefore: before, Expires: after},
	} {
		s.Value = mark
		w.vault.Put(name, s)
	}
	at := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	w.fails("azure:shop-kv/disabled", providers.ErrDenied, "secret disabled in "+host+" is disabled", "--enabled true")
	w.fails("azure:shop-kv/future", providers.ErrUnavailable, "must not be used before "+at(after), "--not-before")
	w.fails("azure:shop-kv/expired", providers.ErrDenied, "it expired at "+at(before), "--expires")
	good := w.wants("azure:shop-kv/good", map[string]string{"value": mark})
	w.now = after.Add(time.Second)
	w.wants("azure:shop-kv/future", map[string]string{"value": mark})
	w.fails("azure:shop-kv/good@"+good.Version, providers.ErrDenied, "it expired at "+at(after))
}

// Which of the four is in the way, and what to grant.
func TestForbidden(t *testing.T) {
	w := newWorld(t)
	w.put("db", "1")
	w.put("other", "2")
	w.vault.Grant(w.identity(), "db")
	w.wants("azure:shop-kv/db", map[string]string{"value": mark + "1"})
	w.fails("azure:shop-kv/other", providers.ErrDenied, "no role assignment lets", "object ID "+w.identity(), "Key Vault Secrets User on vault shop-kv")
	w.fails("azure:shop-kv/none", providers.ErrDenied, "no role assignment") // whether it exists is nobody's business
	w.vault.SetAccess(azuresim.ByPolicy)
	w.fails("azure:shop-kv/other", providers.ErrDenied, "no access policy of vault shop-kv lets", "object ID "+w.identity(), "--secret-permissions get")
	w.vault.SetNetwork(azuresim.Firewalled)
	w.fails("azure:shop-kv/db", providers.ErrDenied, "the firewall of vault shop-kv does not let this host's address 198.51.100.7 in", "az keyvault network-rule add")
	w.vault.SetNetwork(azuresim.Private)
	w.fails("azure:shop-kv/db", providers.ErrDenied, "vault shop-kv has no public access", "private endpoint")
	w.cloud.Set(host, cloudsim.Fault{Status: 403, Body: `{"error":{"code":"Forbidden","message":"` + mark + `","innererror":{"code":"ForbiddenByMoon"}}}`})
	w.fails("azure:shop-kv/db", providers.ErrDenied, "refuses it to this host's managed identity (403, ForbiddenByMoon)")
}

func TestTokensThatAreNotAccepted(t *testing.T) {
	w := newWorld(t)
	w.addVault(w.cloud.AddTenant(otherTenant), "other-kv", "").Put("one", azuresim.VaultSecret{Value: mark})
	w.fails("azure:other-kv/one", providers.ErrDenied, "other-kv.vault.azure.net belongs to another Entra tenant", "401, AKV10032")
	w.machine.SetAudience("https://management.azure.com/")
	w.provider = w.open(w.options)
	w.fails("azure:shop-kv/one", providers.ErrNotFound, "has no secret one") // by the token that is held
	w = newWorld(t)
	w.machine.SetAudience("https://management.azure.com/")
	w.fails("azure:shop-kv/one", providers.ErrDenied, "does not accept the token of this host's managed identity (401, AKV10022)")
}

// A token that has died before its end is replaced once, in the same read.
func TestTokenThatDiedEarly(t *testing.T) {
	w := newWorld(t)
	w.put("one", "1")
	w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"})
	old := w.identity()
	fresh := w.tenant.AddIdentity(subscription, "shop", "fresh")
	w.machine.SetIdentities(fresh)
	w.vault.Grant(fresh.PrincipalID)
	w.cloud.Set(host, cloudsim.Fault{Status: 401, Times: 1, Body: `{"error":{"code":"Unauthorized","message":"AKV10043: gone"}}`,
		Header: http.Header{"Www-Authenticate": {`Bearer authorization="https://login.microsoftonline.com/` + tenantID + `", resource="https://vault.azure.net"`}}})
	w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"}) // the challenge alone makes the client try again
	w.now = w.now.Add(time.Minute)
	w.cloud.Set(host, cloudsim.Fault{Status: 401, Times: 1, Body: `{"error":{"code":"Unauthorized","message":"AKV10043: gone"}}`})
	before := w.machine.Count("GET", azuresim.TokenPath)
	w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"})
	if n := w.machine.Count("GET", azuresim.TokenPath) - before; n != 1 {
		t.Errorf("%d tokens were asked for", n)
	}
	w.vault.Grant(old, "none")
	w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"}) // as the new identity
	w.cloud.Set(host, cloudsim.Fault{Status: 401, Body: `{"error":{"code":"Unauthorized","message":"AKV10043: gone"}}`})
	for _, want := range []int{2, 1} { // while the token is new, another would be no better
		w.now = w.now.Add(time.Minute * time.Duration(want-1))
		reads := w.reads()
		w.fails("azure:shop-kv/one", providers.ErrDenied, "(401, AKV10043)")
		if n := w.reads() - reads; n != want {
			t.Errorf("%d reads with tokens that are not accepted, want %d", n, want)
		}
	}
	w.now = w.now.Add(time.Minute)
	w.machine.Set(azuresim.TokenPath, azuresim.Throttled)
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, "no token", "it limits requests (429)")
}

func TestNoToken(t *testing.T) {
	w := newWorld(t)
	w.put("one", "1")
	w.machine.Set("", azuresim.Updating)
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, "no token", "being updated (410)")
	w.machine.Clear("")
	w.machine.SetIdentities()
	w.fails("azure:shop-kv/one", providers.ErrDenied, "no token", "this VM has no managed identity", "az vm identity assign")
	if _, err := w.fetch("azure:shop-kv/one"); !errors.Is(err, auth.ErrNoIdentity) {
		t.Errorf("the reason is lost: %v", err)
	}
	if n := w.cloud.Count("", host+"/secrets/one/"); n != 0 {
		t.Errorf("%d requests without a token", n)
	}
}

// Nobody decided: the caller may go on with what it has.
func TestFaults(t *testing.T) {
	page := `<html>` + mark + `</html>`
	for name, c := range map[string]struct {
		fault cloudsim.Fault
		text  string
	}{
		"throttled":        {cloudsim.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: `{"error":{"code":"Throttled","message":"` + mark + `"}}`}, host + " limits requests (429), and asks to wait 7 s"},
		"throttled, bad":   {cloudsim.Fault{Status: 429, Header: http.Header{"Retry-After": {mark}}}, host + " limits requests (429)"},
		"failing":          {cloudsim.Fault{Status: 500, Body: mark}, host + " failed (500)"},
		"unavailable":      {cloudsim.Fault{Status: 503, Body: mark}, host + " failed (503)"},
		"a page":           {cloudsim.Fault{Status: 200, Body: page}, "does not answer as Key Vault does"},
		"not its page":     {cloudsim.Fault{Status: 404, Body: page}, "does not answer as Key Vault does: it may be a proxy, or a private endpoint of something else (404)"},
		"a proxy":          {cloudsim.Fault{Status: 403, Body: page}, "does not answer as Key Vault does"},
		"a login page":     {cloudsim.Fault{Status: 302, Header: http.Header{"Location": {"https://evil.example/" + mark}}}, "does not answer as Key Vault does"},
		"no value":         {cloudsim.Fault{Status: 200, Body: `{"id":"https://` + host + `/secrets/one/` + strings.Repeat("0", 32) + `"}`}, "does not answer as Key Vault does"},
		"no ID":            {cloudsim.Fault{Status: 200, Body: `{"value":"` + mark + `"}`}, "does not answer as Key Vault does"},
		"another ID":       {cloudsim.Fault{Status: 200, Body: `{"value":"` + mark + `","id":"https://` + host + `/secrets/one"}`}, "does not answer as Key Vault does"},
		"wrong types":      {cloudsim.Fault{Status: 200, Body: `{"value":["` + mark + `"],"id":7}`}, "does not answer as Key Vault does"},
		"half":             {cloudsim.Fault{Status: 200, Body: `{"value":"` + mark}, "does not answer as Key Vault does"},
		"nothing":          {cloudsim.Fault{Status: 200}, "does not answer as Key Vault does"},
		"too large":        {cloudsim.Fault{Status: 200, Body: `{"value":"` + strings.Repeat("x", 1<<20)}, "larger than 1 MiB"},
		"another code":     {cloudsim.Fault{Status: 409, Body: `{"error":{"code":"Conflict","message":"` + mark + `"}}`}, host + " answers 409 (Conflict)"},
		"a 401 of its own": {cloudsim.Fault{Status: 401, Body: page}, "does not answer as Key Vault does"},
		"no challenge":     {cloudsim.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {"Basic realm=x"}}}, "does not answer as Key Vault does"},
		"a challenge that would be a panic": {cloudsim.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer authorization="x", resource="https://vault.azure.net"`}}},
			"does not answer as Key Vault does"},
		"a challenge for another service": {cloudsim.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer authorization="https://a/b", resource="https://management.azure.com"`}}},
			"does not answer as Key Vault does"},
		"reset": {cloudsim.Fault{Reset: true}, "connection reset"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put("one", "1")
			w.cloud.Set(host, c.fault)
			w.fails("azure:shop-kv/one", providers.ErrUnavailable, c.text)
			if n := w.cloud.Count("GET", host+"/secrets/one/"); n != 1 {
				t.Errorf("%d requests in one attempt", n)
			}
			w.cloud.Clear(host)
			w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"})
		})
	}
}

// No token leaves for a vault whose challenge names another service.
func TestChallengeForAnotherService(t *testing.T) {
	w := newWorld(t)
	w.cloud.Set(host, cloudsim.Fault{Status: 401, Header: http.Header{"Www-Authenticate": {`Bearer authorization="https://a/b", resource="https://management.azure.com"`}}})
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, "does not answer as Key Vault does")
	w.cloud.Clear(host)
	w.put("one", "1")
	w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"})
	if n := w.machine.Count("GET", azuresim.TokenPath); n != 1 {
		t.Errorf("%d tokens were asked for: one is for Key Vault, and another was for another service", n)
	}
}

func TestNetwork(t *testing.T) {
	w := newWorld(t)
	w.put("one", "1")
	genuine := w.options.Connection
	dial := func(err error) {
		w.options.Connection.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, err }
		w.provider = w.open(w.options)
	}
	dial(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}})
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, "there is no host "+host+": correct the vault's name, or make this host's DNS know the vault")
	dial(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}})
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, "the DNS does not answer for "+host+": server misbehaving")
	w.options.Connection = genuine
	w.options.Connection.Authorities = nil
	w.provider = w.open(w.options)
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, "shows a certificate that is not to be trusted", "unknown authority")
	w.options.Connection.Dial = to(closed(t))
	w.provider = w.open(w.options)
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, host+" cannot be reached", "connection refused")
	w.options.Connection.Dial = to(serve(t, http.NotFoundHandler(), cloudsim.Options{}))
	w.provider = w.open(w.options)
	w.fails("azure:shop-kv/one", providers.ErrUnavailable, host+" cannot be reached", "does not speak HTTPS")
}

// A caller that gives up gets its answer at once, although nobody answers.
func TestSlow(t *testing.T) {
	for name, end := range map[string]struct {
		with func(context.Context) (context.Context, context.CancelFunc)
		is   error
		text string
	}{
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		}, context.Canceled, host + ": the request was given up"},
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 20*time.Millisecond)
		}, context.DeadlineExceeded, host + " did not answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put("one", "1")
			w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"})
			w.cloud.Set(host, cloudsim.Fault{Delay: time.Hour})
			ctx, cancel := end.with(t.Context())
			defer cancel()
			_, err := w.provider.Fetch(ctx, parse(t, "azure:shop-kv/one"))
			checkError(t, err, providers.ErrUnavailable, "azure:shop-kv/one", end.text)
			if !errors.Is(err, end.is) {
				t.Errorf("the reason is lost: %v", err)
			}
		})
	}
}

// Many read at once, from several vaults, with one token.
func TestSideBySide(t *testing.T) {
	w := newWorld(t)
	w.put("one", "1")
	w.addVault(w.tenant, "other-kv", "").Put("two", azuresim.VaultSecret{Value: "2"})
	errs := make(chan error)
	const readers = 40
	for i := range readers {
		ref := parse(t, []string{"azure:shop-kv/one", "azure:other-kv/two", "azure:shop-kv/none"}[i%3])
		go func() {
			_, err := w.provider.Fetch(t.Context(), ref)
			if ref.Path == "shop-kv/none" && errors.Is(err, providers.ErrNotFound) {
				err = nil
			}
			errs <- err
		}()
	}
	for range readers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if tokens, instances := w.machine.Count("GET", azuresim.TokenPath), w.machine.Count("GET", azuresim.InstancePath); tokens != 1 || instances != 1 {
		t.Errorf("%d tokens and %d descriptions of the machine were asked for", tokens, instances)
	}
}
