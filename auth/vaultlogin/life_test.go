package vaultlogin_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
)

// A token is handed out at every minute of a long time, and it is good.
func TestTokenLivesOn(t *testing.T) {
	const span = 24 * time.Hour
	for name, c := range map[string]struct {
		ttl, maxTTL                  time.Duration
		fixed                        bool
		fewestLogins, mostLogins     int
		fewestRenewals, mostRenewals int
	}{
		"renewed for ever":  {ttl: time.Hour, fewestLogins: 1, mostLogins: 1, fewestRenewals: 36, mostRenewals: 41},
		"capped by max TTL": {ttl: time.Hour, maxTTL: 3 * time.Hour, fewestLogins: 8, mostLogins: 11, fewestRenewals: 30, mostRenewals: 45},
		"not renewable":     {ttl: time.Hour, fixed: true, fewestLogins: 26, mostLogins: 31},
		"without an end":    {ttl: 0, fewestLogins: 1, mostLogins: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t)
				v.set(func() { v.ttl, v.maxTTL, v.fixed = c.ttl, c.maxTTL, c.fixed })
				source, log := start(t, v)
				for at := time.Duration(0); at < span; at += time.Minute {
					if token := within(t, source, time.Second); !v.lives(token) {
						t.Fatalf("after %s: a dead token", at)
					}
					time.Sleep(time.Minute)
				}
				logins, renewals := v.count(&v.logins), v.count(&v.renewals)
				if logins < c.fewestLogins || logins > c.mostLogins || renewals < c.fewestRenewals || renewals > c.mostRenewals {
					t.Errorf("%d logins and %d renewals", logins, renewals)
				}
				if info := log.lines("INFO", "logged in"); info != logins || log.lines("WARN", "")+log.lines("ERROR", "") > 0 {
					t.Errorf("%d logins, but the log says:\n%s", logins, log)
				}
			})
		})
	}
}

func TestRenewalRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() {
			v.fault = func(path string, w http.ResponseWriter) bool {
				if path != "auth/token/renew-self" {
					return false
				}
				refuse(w, http.StatusForbidden, "permission denied")
				return true
			}
		})
		source, log := start(t, v)
		first := within(t, source, time.Second)
		time.Sleep(39 * time.Minute)
		second := within(t, source, time.Second)
		if second.Value.Equal(first.Value) || !v.lives(second) || !v.lives(first) || v.count(&v.logins) != 2 {
			t.Errorf("%d logins; the log says:\n%s", v.count(&v.logins), log)
		}
	})
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, log := start(t, v)
		first := within(t, source, time.Second)
		v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
		before := v.count(&v.requests)

		time.Sleep(50 * time.Minute) // the renewal has failed, the token still lives
		if token := within(t, source, time.Second); !token.Value.Equal(first.Value) || source.State().Err == nil || !source.State().LoggedIn {
			t.Errorf("the token that lives is not handed out, or the trouble is not told: %+v", source.State())
		}
		time.Sleep(3 * time.Hour)
		if _, err := tryWithin(source, 30*time.Second); err == nil || source.State().LoggedIn {
			t.Errorf("the token has ended, but is handed out: %+v", source.State())
		}
		// 3.2 hours with, at these jitters, a request every 15 seconds.
		if n := v.count(&v.requests) - before; n < 100 || n > 900 {
			t.Errorf("%d requests during the outage", n)
		}

		v.set(func() { v.fault = nil })
		if token := within(t, source, 30*time.Second); !v.lives(token) {
			t.Error("a dead token after the outage")
		}
		synctest.Wait() // until the line about it is written
		if log.lines("INFO", "logged in") != 2 || log.lines("WARN", "the one held goes on") != 1 || log.lines("ERROR", "no Vault token") != 1 {
			t.Errorf("not one line for each change:\n%s", log)
		}
	})
}

func TestShortOutageEndsWithARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, log := start(t, v)
		within(t, source, time.Second)
		v.set(func() { v.fault = answering(http.StatusInternalServerError, "internal error") })
		time.Sleep(45 * time.Minute)
		v.set(func() { v.fault = nil })
		time.Sleep(time.Minute)
		if v.count(&v.logins) != 1 || v.count(&v.renewals) != 1 || source.State().Err != nil || log.lines("INFO", "renewed again") != 1 {
			t.Errorf("%d logins, %d renewals, %+v\n%s", v.count(&v.logins), v.count(&v.renewals), source.State(), log)
		}
	})
}

func TestShutdown(t *testing.T) {
	for _, revoke := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVault(t)
			source, _, stop := startStoppable(t, v, func(o *vaultlogin.Options) { o.RevokeOnShutdown = revoke })
			within(t, source, time.Second)
			stop()
			if got := v.count(&v.revoked) == 1; got != revoke {
				t.Errorf("RevokeOnShutdown %v: revoked %v", revoke, got)
			}
			_, err := source.Token(context.Background())
			wantError(t, err, auth.ErrUnavailable, "shutting down")
		})
	}
}
