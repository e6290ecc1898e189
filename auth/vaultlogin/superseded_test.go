package vaultlogin_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// At its max TTL a token is replaced while it lives: what hangs on it has until
// its end to be had anew, and that is never less than a fiftieth of its time.
func TestSupersededAtMaxTTL(t *testing.T) {
	const ttl = time.Hour
	for _, maxTTL := range []time.Duration{3 * time.Hour, 3*time.Hour + 7*time.Minute, 3*time.Hour + 20*time.Minute, 4 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			v := newVault(t)
			v.set(func() { v.ttl, v.maxTTL = ttl, maxTTL })
			source, _ := start(t, v)
			first, began := within(t, source, time.Second), time.Now()
			for !time.Now().After(began.Add(maxTTL)) {
				ends, superseded := source.Superseded(first.Accessor)
				if current := within(t, source, 0); superseded == current.Value.Equal(first.Value) {
					t.Fatalf("superseded %v, and the current token is %s", superseded, current.Accessor)
				}
				if superseded {
					if left := time.Until(ends); !ends.Equal(began.Add(maxTTL)) || left < ttl/50 || !v.lives(first) {
						t.Errorf("max TTL %s: the first token is said to end in %s", maxTTL, left)
					}
					return
				}
				time.Sleep(time.Second)
			}
			t.Error("the token was not replaced before its end")
		})
	}
}

func TestSupersededWhenForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, _ := start(t, v)
		first := within(t, source, time.Second)
		v.set(func() { v.fault = refusingLogins })
		v.revokeAll()
		if _, err := source.Refused(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		// At once, though there is no new token yet.
		if ends, superseded := source.Superseded(first.Accessor); !superseded || !ends.IsZero() {
			t.Errorf("ends %v, superseded %v", ends, superseded)
		}
	})
}

// refusingLogins lets everything through but logins.
func refusingLogins(path string, w http.ResponseWriter) bool {
	if path != "auth/aws/login" {
		return false
	}
	refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
	return true
}

func TestSupersededIsAboutReplacedTokensOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, _ := start(t, v)
		token := within(t, source, time.Second)
		time.Sleep(3 * time.Hour) // renewals are no replacement
		for _, accessor := range []string{token.Accessor, "", "somebody else's"} {
			if ends, superseded := source.Superseded(accessor); superseded || !ends.IsZero() {
				t.Errorf("%q: ends %v, superseded %v", accessor, ends, superseded)
			}
		}
		v.set(func() { v.batch = true })
		v.revokeAll()
		if _, err := source.Refused(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		for range 10 { // batch tokens, which nobody can name
			within(t, source, time.Second)
			time.Sleep(time.Hour)
		}
		if _, superseded := source.Superseded(""); superseded {
			t.Error("a token without an accessor is remembered")
		}
	})
}

// The replaced tokens that are remembered are the last ones.
func TestSupersededForgetsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.fixed = true })
		source, _ := start(t, v)
		first := within(t, source, time.Second)
		before := first
		for range 100 {
			time.Sleep(time.Hour)
			before, _ = within(t, source, time.Second), before
		}
		time.Sleep(time.Hour)
		if _, superseded := source.Superseded(before.Accessor); !superseded {
			t.Error("the last token is not remembered")
		}
		if _, superseded := source.Superseded(first.Accessor); superseded {
			t.Error("the first of a hundred tokens is remembered")
		}
	})
}
