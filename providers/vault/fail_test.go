package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
	"github.com/quaymaster/quaymaster/providers"
)

func TestWhatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.put("old", "shop/db", "one")
	for ref, want := range map[string]struct {
		kind error
		text string
	}{
		"vault:kv/shop/none":                   {providers.ErrNotFound, "there is nothing at kv/data/shop/none"},
		"vault:old/shop/none":                  {providers.ErrNotFound, "there is nothing at old/shop/none"},
		"vault:kv/other/db":                    {providers.ErrDenied, "Vault denies it (403)"},
		"vault:old/other":                      {providers.ErrDenied, "Vault denies it (403)"},
		"vault:nowhere/db":                     {providers.ErrDenied, "preflight capability check returned 403"},
		"vault:kv":                             {providers.ErrInvalid, "kv names a mount, not a secret below it"},
		"vault:old/shop/db@2":                  {providers.ErrInvalid, "keeps no versions: leave out @2"},
		"vault:kv/shop/db?ttl=1h":              {providers.ErrInvalid, "a key-value secret takes no parameters"},
		"vault:old/shop/db?a=b#password":       {providers.ErrInvalid, "a key-value secret takes no parameters"},
		"vault:sys/mounts":                     {providers.ErrInvalid, "below sys/ Vault keeps its own workings"},
		"vault:auth/token/create?method=write": {providers.ErrInvalid, "below auth/ Vault keeps its own workings"},
	} {
		for range 2 { // the second time the mount is remembered
			w.fails(ref, want.kind, want.text)
		}
	}
}

// A mount that is of no kind that holds secrets, or an answer that is not about
// a mount at all.
func TestMountsThatHoldNoSecrets(t *testing.T) {
	for answer, want := range map[string]struct {
		kind error
		text string
	}{
		`{"request_id":"1","data":{"path":"m/","type":"cubbyhole"}}`: {providers.ErrInvalid, `the mount m/ is of type "cubbyhole"`},
		`{"request_id":"1","data":{"path":"m/","type":"identity"}}`:  {providers.ErrInvalid, "of the identity engine only oidc/token/<role> can be read"},
		`{"request_id":"1","data":{"path":"other/","type":"kv"}}`:    {providers.ErrInvalid, "names a mount, not a secret below it"},
		`{}`: {providers.ErrUnavailable, "is that Vault?"},
		`{"request_id":"1","data":{"path":7,"type":[],"options":"x"}}`: {providers.ErrUnavailable, "is that Vault?"},
	} {
		w := newWorld(t)
		w.Set("sys/internal/ui/mounts/", cloudsim.Fault{Status: http.StatusOK, Body: answer})
		w.fails("vault:m/issue/web", want.kind, want.text)
	}
}

// The key-value engine of Vault before 0.10 is called generic and says nothing
// of versions.
func TestGenericMount(t *testing.T) {
	w := newWorld(t)
	w.put("old", "shop/db", "one")
	w.Set("sys/internal/ui/mounts/", cloudsim.Fault{Status: http.StatusOK, Body: `{"request_id":"1","data":{"path":"old/","type":"generic","options":null}}`})
	w.wants("vault:old/shop/db", "one")
}

// Nobody decided: the caller may go on with what it has.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault cloudsim.Fault
		text  string
	}{
		"failing":        {vaultsim.Failing, "Vault failed (500): internal error"},
		"limited":        {vaultsim.RateLimited(7), "Vault limits requests (429)"},
		"foreign":        {vaultsim.Foreign, "what answered 502 is not Vault's API"},
		"garbage":        {vaultsim.Garbage, "the answer is cut short"},
		"another's JSON": {cloudsim.Fault{Status: http.StatusOK, Body: `{"password":"` + mark + `"}`}, "is that Vault?"},
		"a web page":     {cloudsim.Fault{Status: http.StatusOK, Body: "<html>welcome</html>"}, "the answer is not Vault's"},
		"another's page": {cloudsim.Fault{Status: http.StatusNotFound, Body: "<html>not here</html>"}, "the answer is not Vault's"},
		"reset":          {cloudsim.Fault{Reset: true}, "Vault cannot be reached"},
	} {
		for _, prefix := range []string{"kv/", "sys/"} {
			t.Run(name+" at "+prefix, func(t *testing.T) {
				w := newWorld(t)
				w.put("kv", "shop/db", "one")
				w.Set(prefix, c.fault)
				w.fails("vault:kv/shop/db", providers.ErrUnavailable, c.text)
				w.Clear(prefix)
				w.wants("vault:kv/shop/db", "one")
			})
		}
	}
}

func TestSealed(t *testing.T) {
	w := newWorld(t)
	w.put("kv", "shop/db", "one")
	w.SetSealed(true)
	w.fails("vault:kv/shop/db", providers.ErrUnavailable, "Vault is sealed")
	w.SetSealed(false)
	w.wants("vault:kv/shop/db", "one")
	w.SetSealed(true)
	w.fails("vault:kv/shop/db", providers.ErrUnavailable, "Vault is sealed")
	if n := w.Count("", "sys/internal/ui/mounts/kv/shop/db"); n != 2 {
		t.Errorf("the mount was looked up %d times: a sealed Vault is no reason to forget it", n)
	}
}

func TestNobodyListens(t *testing.T) {
	server, err := cloudsim.Start(http.NotFoundHandler(), cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	_, provider := newProvider(t, vaultclient.Config{Address: server.URL()}, &tokens{list: []string{"hvs.x"}}, time.Now)
	_, err = provider.Fetch(t.Context(), parse(t, "vault:kv/shop/db"))
	checkError(t, err, providers.ErrUnavailable, server.URL(), "kv/shop/db", "Vault cannot be reached", "check vault.address")
}

// A caller that gives up gets its answer at once, although Vault never answers.
func TestSlowVault(t *testing.T) {
	for name, end := range map[string]struct {
		with func(context.Context) (context.Context, context.CancelFunc)
		is   error
		text string
	}{
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		}, context.Canceled, "the request was given up"},
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 20*time.Millisecond)
		}, context.DeadlineExceeded, "Vault did not answer in time"},
	} {
		for _, prefix := range []string{"kv/", "sys/"} {
			t.Run(name+" at "+prefix, func(t *testing.T) {
				w := newWorld(t)
				w.Set(prefix, cloudsim.Fault{Delay: time.Hour})
				ctx, cancel := end.with(t.Context())
				defer cancel()
				_, err := w.provider.Fetch(ctx, parse(t, "vault:kv/shop/db"))
				checkError(t, err, providers.ErrUnavailable, w.address, "kv/", "shop/db", end.text)
				if !errors.Is(err, end.is) {
					t.Errorf("%v is not %v", err, end.is)
				}
			})
		}
	}
}

// An answer without an end would fill the agent's memory.
func TestHugeAnswer(t *testing.T) {
	w := newWorld(t)
	if _, err := w.PutSecret("kv", "shop/db", map[string]any{"password": mark + strings.Repeat("x", 9<<20)}); err != nil {
		t.Fatal(err)
	}
	w.fails("vault:kv/shop/db", providers.ErrUnavailable, "the answer is larger than 8 MiB")
}

// A token that died early is replaced once, unnoticed by the caller.
func TestRefusedToken(t *testing.T) {
	w := newWorld(t)
	w.put("kv", "shop/db", "one")
	w.put("kv", "other/db", "two")
	living := w.tokens.list[0]
	for _, first := range []string{"sys/internal/ui/mounts/kv/shop/db", "kv/data/shop/db"} { // then the mount is remembered
		before := w.Count("", first)
		w.tokens.list, w.tokens.refused = []string{"hvs.dead", living}, 0
		w.wants("vault:kv/shop/db", "one")
		if n := w.Count("", first) - before; w.tokens.refused != 1 || n != 2 {
			t.Errorf("%s: %d refusals told, %d requests", first, w.tokens.refused, n)
		}
	}

	// Two dead tokens: one is tried after the first, not more.
	before := w.Count("", "kv/data/shop/db")
	w.tokens.list, w.tokens.refused = []string{"hvs.dead", "hvs.dead-too", living}, 0
	w.fails("vault:kv/shop/db", providers.ErrDenied, "invalid token")
	if n := w.Count("", "kv/data/shop/db") - before; n != 2 {
		t.Errorf("%d reads with dead tokens, want 2", n)
	}

	// A token that lives and may not: Denied, without another attempt.
	before = w.Count("", "kv/data/other/db")
	w.tokens.list, w.tokens.refused = []string{living}, 0
	w.fails("vault:kv/other/db", providers.ErrDenied, "permission denied")
	if n := w.Count("", "kv/data/other/db") - before; w.tokens.refused != 1 || n != 1 {
		t.Errorf("%d refusals told, %d reads", w.tokens.refused, n)
	}
}

// Whether a refusal was the token's or the policy's fault could not be found
// out: that is no decision.
func TestRefusalThatCannotBeExplained(t *testing.T) {
	w := newWorld(t)
	w.tokens.unsure = fmt.Errorf("%w: asking about the token: sealed", auth.ErrUnavailable)
	w.fails("vault:kv/other/db", providers.ErrUnavailable, "asking about the token")
}

func TestNoToken(t *testing.T) {
	for name, c := range map[string]struct{ fail, kind error }{
		"not now":     {auth.ErrUnavailable, providers.ErrUnavailable},
		"deadline":    {context.DeadlineExceeded, providers.ErrUnavailable},
		"given up":    {context.Canceled, providers.ErrUnavailable},
		"refused":     {auth.ErrRefused, providers.ErrDenied},
		"no identity": {auth.ErrNoIdentity, providers.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tokens.fail = fmt.Errorf("role docker-host: %w", c.fail)
			w.fails("vault:kv/shop/db", c.kind, "no token", "role docker-host")
			if _, err := w.fetch("vault:kv/shop/db"); !errors.Is(err, c.fail) {
				t.Errorf("the reason is lost: %v", err)
			}
			if n := w.Count("", "sys/internal/ui/mounts/kv/shop/db"); n != 0 {
				t.Errorf("%d requests without a token", n)
			}
		})
	}
}

// Many goroutines read at once; the race detector watches.
func TestSideBySide(t *testing.T) {
	w := newWorld(t)
	for _, mount := range []string{"kv", "old"} {
		w.put(mount, "shop/db", "one")
	}
	errs := make(chan error)
	const readers = 40
	for i := range readers {
		ref := parse(t, []string{"vault:kv/shop/db", "vault:old/shop/db", "vault:kv/shop/db@1", "vault:kv/shop/none"}[i%4])
		go func() {
			_, err := w.provider.Fetch(t.Context(), ref)
			if ref.Path == "kv/shop/none" && errors.Is(err, providers.ErrNotFound) {
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
}
