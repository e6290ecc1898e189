//go:build integration

package vaultlogin_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// timeless is an attestor whose evidence does not depend on any clock: here a
// real Vault's approle stands for a cloud that signs nothing with the host's time.
type timeless map[string]secret.Value

func (e timeless) Attest(context.Context, string) (auth.Evidence, error) {
	return auth.Evidence{Method: "approle", Principal: "a host without a clock", Login: e}, nil
}

// newTimeless is a Vault and the evidence to log in to it with.
func newTimeless(t *testing.T) (*realvault.Vault, timeless) {
	t.Helper()
	v := newRealVault(t, newCloud(t), realvault.Options{})
	ctx, logical := t.Context(), v.Client().Logical()
	must(t, v.Client().Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}))
	_, err := logical.WriteWithContext(ctx, "auth/approle/role/docker-host", map[string]any{"token_policies": "shop", "token_ttl": shortTTL.String()})
	must(t, err)
	id, err := logical.ReadWithContext(ctx, "auth/approle/role/docker-host/role-id")
	must(t, err)
	made, err := logical.WriteWithContext(ctx, "auth/approle/role/docker-host/secret-id", nil)
	must(t, err)
	return v, timeless{
		"role_id":   secret.NewValue([]byte(id.Data["role_id"].(string))),
		"secret_id": secret.NewValue([]byte(made.Data["secret_id"].(string))),
	}
}

// The host's clock is set an hour ahead or back, and right again: its token is
// renewed as if nothing had been, and the log tells at most that the clock moved.
func TestRealVaultHostClock(t *testing.T) {
	v, evidence := newTimeless(t)
	for name, c := range map[string]struct {
		shift time.Duration
		jumps int // ahead: one when it goes wrong, or one when it comes back
	}{"ahead": {time.Hour, 1}, "back": {-time.Hour, 1}} {
		t.Run(name, func(t *testing.T) {
			clock := &wall{}
			l := logIn(t, vaultclient.Config{Address: v.Address()}, clock.use, func(o *vaultlogin.Options) { o.Attestor, o.Mount = evidence, "approle" })
			first := within(t, l.Source, 30*time.Second)
			for _, shift := range []time.Duration{0, c.shift, 0} {
				clock.set(shift)
				before := l.log.lines("DEBUG", "token renewed")
				until(t, "two more renewals", func() bool {
					l.reads(t, within(t, l.Source, 30*time.Second))
					return l.log.lines("DEBUG", "token renewed") >= before+2
				})
			}
			if token := within(t, l.Source, 30*time.Second); token.Accessor != first.Accessor {
				t.Error("the token was given up")
			}
			if n := l.log.lines("INFO", "the clock is ahead"); n != c.jumps || l.log.lines("WARN", "")+l.log.lines("ERROR", "") > 0 {
				t.Errorf("%d lines about the clock:\n%s", n, l.log)
			}
		})
	}
}

// The machine sleeps for longer than its token lives.
func TestRealVaultSleep(t *testing.T) {
	v, evidence := newTimeless(t)
	clock := &wall{}
	l := logIn(t, vaultclient.Config{Address: v.Address()}, clock.use, func(o *vaultlogin.Options) { o.Attestor, o.Mount = evidence, "approle" })
	first := within(t, l.Source, 30*time.Second)
	before := l.toldUntilLogin(t)
	must(t, v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), first.Accessor)) // its end, which no timer of the host saw coming
	clock.set(2 * time.Hour)
	until(t, "another token", func() bool {
		token, err := tryWithin(l.Source, time.Second)
		return err == nil && token.Accessor != first.Accessor
	})
	l.reads(t, within(t, l.Source, 30*time.Second))
	until(t, "the line about the login", func() bool { return strings.Contains(strings.Join(l.told(before), ""), "logged in to Vault") })
	l.wantLines(t, before, "the machine slept", "Vault has forgotten the token", "logged in to Vault")
}

// At shutdown the token and what hangs on it live on, unless the operator wants
// it otherwise.
func TestRealVaultShutdown(t *testing.T) {
	v := newDelegatingVault(t)
	for _, revoke := range []bool{false, true} {
		d := delegate(t, v, func(o *vaultlogin.Options) { o.RevokeOnShutdown = revoke })
		container := providers.Client{Container: strings.Repeat("ab", 32)}
		tokens := []auth.Token{current(t, d.host), current(t, d.Source(container))}
		d.host.stop()
		for _, token := range tokens {
			if _, err := lookUp(t, v, token.Accessor); (err == nil) == revoke {
				t.Errorf("RevokeOnShutdown %v: asked about the token, Vault says: %v", revoke, err)
			}
		}
	}
}
