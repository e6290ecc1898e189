package vaultlogin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
)

// together calls f from n goroutines and waits for all.
func together(n int, f func()) {
	var group sync.WaitGroup
	for range n {
		group.Go(f)
	}
	group.Wait()
}

func TestCallersShareOneLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, _ := start(t, v)
		together(100, func() { within(t, source, time.Second) })
		if n := v.count(&v.logins); n != 1 {
			t.Errorf("100 callers made %d logins", n)
		}
	})
}

func TestCallersWaitWhileVaultIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
		source, _ := start(t, v)
		go func() {
			time.Sleep(10 * time.Second)
			v.set(func() { v.fault = nil })
		}()
		together(100, func() {
			if _, err := tryWithin(source, time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("an impatient caller: %v", err)
			}
			within(t, source, 29*time.Second)
		})
		// One, two, four, eight seconds, halved by the jitter.
		if n := v.count(&v.logins); n < 3 || n > 6 {
			t.Errorf("100 callers made %d logins", n)
		}
	})
}

func TestRefusalIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.fault = answering(http.StatusBadRequest, `entry for role "docker-host" not found`) })
		source, log := start(t, v)
		began := time.Now()
		together(100, func() {
			_, err := source.Token(t.Context())
			wantError(t, err, auth.ErrRefused, "not found (this host is role/docker-host on i-0abc) (the next try is at ")
		})
		if waited, n := time.Since(began), v.count(&v.logins); waited > 0 || n != 1 {
			t.Errorf("100 callers waited %s and made %d logins", waited, n)
		}
		time.Sleep(time.Hour)
		if n := v.count(&v.logins); n > 300 || log.lines("ERROR", "") != 1 {
			t.Errorf("%d logins in an hour of refusals, %d lines", n, log.lines("ERROR", ""))
		}
		v.set(func() { v.fault = nil }) // somebody wrote the role
		time.Sleep(30 * time.Second)
		within(t, source, 0)
	})
}

func TestNoIdentityIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		attestor := &host{err: fmt.Errorf("nothing answers: %w", auth.ErrNoIdentity)}
		source, _ := start(t, v, func(o *vaultlogin.Options) { o.Attestor = attestor })
		_, err := source.Token(t.Context())
		wantError(t, err, auth.ErrNoIdentity, "evidence for Vault at "+address)
		attestor.mu.Lock()
		attestor.err = errors.New("something new")
		attestor.mu.Unlock()
		time.Sleep(30 * time.Second)
		_, err = tryWithin(source, time.Second)
		wantError(t, err, auth.ErrUnavailable, "something new")
		attestor.mu.Lock()
		attestor.err = nil // an instance profile was attached
		attestor.mu.Unlock()
		within(t, source, 30*time.Second)
	})
}

func TestGivingUpBeforeTheFirstLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, err := vaultlogin.New(vaultlogin.Options{Client: client(t, v), Attestor: &host{}, Role: "r", Logger: (&logText{}).logger()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = tryWithin(source, time.Second) // Run was never called
		wantError(t, err, auth.ErrUnavailable, "the first login is not through yet")
	})
}

func TestRevokedTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, log := start(t, v)
		first := within(t, source, time.Second)
		time.Sleep(10 * time.Minute)
		v.revokeAll()
		together(50, func() {
			if retry, err := source.Refused(t.Context(), first); !retry || err != nil {
				t.Errorf("a revoked token: retry %v, %v", retry, err)
			}
			if again := within(t, source, time.Second); again.Value.Equal(first.Value) || !v.lives(again) {
				t.Error("the revoked token is handed out again")
			}
		})
		if logins, lookups := v.count(&v.logins), v.count(&v.lookups); logins != 2 || lookups != 1 {
			t.Errorf("50 callers made %d logins and %d lookups", logins, lookups)
		}
		if log.lines("WARN", "forgotten the token") != 1 {
			t.Errorf("the log says:\n%s", log)
		}
	})
}

func TestLiveTokenIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, _ := start(t, v)
		token := within(t, source, time.Second)
		together(50, func() {
			if retry, err := source.Refused(t.Context(), token); retry || err != nil {
				t.Errorf("a token that lives: retry %v, %v", retry, err)
			}
		})
		if logins, lookups := v.count(&v.logins), v.count(&v.lookups); logins != 1 || lookups > 50 {
			t.Errorf("%d logins and %d lookups", logins, lookups)
		}
		v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
		_, err := source.Refused(t.Context(), token)
		wantError(t, err, auth.ErrUnavailable, "asking about the token: Vault is sealed")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = source.Refused(ended, token)
		wantError(t, err, auth.ErrUnavailable, "")
	})
}

// A token whose policies do not let it ask about itself is not a dead one.
func TestTokenThatMayNotAskIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, _ := start(t, v)
		token := within(t, source, time.Second)
		v.set(func() { v.fault = answering(http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n") })
		if retry, err := source.Refused(t.Context(), token); retry || err != nil {
			t.Errorf("retry %v, %v", retry, err)
		}
		if again := within(t, source, time.Second); !again.Value.Equal(token.Value) {
			t.Error("the token was replaced")
		}
	})
}

// A Vault that forgets each token at once must not be stormed with logins.
func TestTokensThatDieYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, _ := start(t, v)
		for began := time.Now(); time.Since(began) < 10*time.Minute; {
			token := within(t, source, 30*time.Second)
			v.revokeAll()
			if retry, err := source.Refused(t.Context(), token); !retry || err != nil {
				t.Fatalf("retry %v, %v", retry, err)
			}
		}
		if n := v.count(&v.logins); n < 10 || n > 60 {
			t.Errorf("%d logins in ten minutes", n)
		}
	})
}

func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		source, _ := start(t, v)
		if state := source.State(); state != (vaultlogin.State{}) {
			t.Errorf("before the login: %+v", state)
		}
		token := within(t, source, time.Second)
		want := vaultlogin.State{
			LoggedIn: true, Principal: "arn:aws:sts::111122223333:assumed-role/docker-host/i-0abc",
			Accessor: "accessor-of-hvs.token-1", Expires: token.IssuedAt.Add(time.Hour),
		}
		if state := source.State(); state != want {
			t.Errorf("got  %+v\nwant %+v", state, want)
		}
		v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
		time.Sleep(2 * time.Hour)
		state := source.State()
		if state.LoggedIn || !errors.Is(state.Err, auth.ErrUnavailable) || !state.NextTry.After(time.Now()) {
			t.Errorf("in an outage: %+v", state)
		}
	})
}
