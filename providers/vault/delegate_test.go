package vault_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/vault"
)

// Each client reads with a login of its own; what a mount is, they all know.
func TestReadingInTheNameOfAContainer(t *testing.T) {
	w := newWorld(t)
	w.put("kv", "shop/db", "one")
	var forgotten []string
	logins := map[string]*tokens{"c1": {list: w.tokens.list}, "c2": {list: []string{"hvs.dead"}}}
	host := vault.New(vault.Options{
		Client: w.client, Tokens: w.tokens, Now: time.Now,
		Delegate: func(client providers.Client) auth.TokenSource { return logins[client.Container] },
		Forget: func(_ context.Context, container string) error {
			forgotten = append(forgotten, container)
			return map[string]error{"c2": errors.New("no luck")}[container]
		},
	})
	w.provider = host
	w.wants("vault:kv/shop/db", "one")
	lookups := w.Count("", "sys/internal/ui/mounts/kv/shop/db")
	w.provider = host.For(providers.Client{Container: "c1"}).(*vault.Provider)
	w.tokens = &tokens{fail: auth.ErrRefused} // nobody asks for the host's
	w.wants("vault:kv/shop/db", "one")
	if n := w.Count("", "sys/internal/ui/mounts/kv/shop/db"); n != lookups {
		t.Errorf("%d lookups of the mount, %d before", n, lookups)
	}
	other := host.For(providers.Client{Container: "c2"})
	_, err := other.Fetch(t.Context(), parse(t, "vault:kv/shop/db"))
	checkError(t, err, providers.ErrDenied, "kv/data/shop/db")
	if err := host.Forget(t.Context(), "c1"); err != nil {
		t.Error(err)
	}
	if err := host.Forget(t.Context(), "c2"); err == nil || !strings.Contains(err.Error(), "no luck") || len(forgotten) != 2 {
		t.Errorf("%v, forgotten %q", err, forgotten)
	}
}

// Where no such logins are made, nothing is read in their place.
func TestNoLoginsInTheNameOfContainers(t *testing.T) {
	w := newWorld(t)
	w.put("kv", "shop/db", "one")
	as := w.provider.For(providers.Client{Container: "c1", Role: "narrow"})
	for range 2 {
		_, err := as.Fetch(t.Context(), parse(t, "vault:kv/shop/db"))
		checkError(t, err, providers.ErrInvalid, "in the name of a container", "shop/db", "out of the grant")
		w.wants("vault:kv/shop/db", "one") // by the host, which also knows the mount now
	}
	leaser := as.(providers.Leaser)
	_, err := leaser.Renew(t.Context(), secret.Lease{ID: "a/b", Renewable: true})
	checkError(t, err, providers.ErrInvalid, "in the name of a container")
	checkError(t, leaser.Revoke(t.Context(), secret.Lease{ID: "a/b"}), providers.ErrInvalid, "in the name of a container")
	if bound := leaser.Bound(secret.Lease{ID: "a/b", Token: accessor}); !bound.IsZero() {
		t.Error(bound)
	}
	if err := w.provider.Forget(t.Context(), "c1"); err != nil {
		t.Error(err)
	}
}
