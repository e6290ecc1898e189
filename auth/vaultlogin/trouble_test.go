package vaultlogin_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
)

// limiting refuses every request and says when to come back.
func limiting(status int, after time.Duration) func(string, http.ResponseWriter) bool {
	return func(_ string, w http.ResponseWriter) bool {
		w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())))
		refuse(w, status, "rate limit quota exceeded")
		return true
	}
}

func TestRetryAfterIsHeeded(t *testing.T) {
	for name, c := range map[string]struct {
		status             int
		after, span        time.Duration
		fewest, mostLogins int
	}{
		// At half the backoff's limit, with the pause: 60.5, 61, 62, 64, 68, 75 s, and 75 s from then on.
		"429":     {429, time.Minute, 10 * time.Minute, 8, 10},
		"503":     {503, time.Minute, 10 * time.Minute, 8, 10},
		"a day":   {429, 24 * time.Hour, 20 * time.Minute, 9, 11}, // no more than vaultclient.MaxRetryAfter
		"nothing": {429, 0, 10 * time.Minute, 35, 50},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t)
				v.set(func() { v.fault = limiting(c.status, c.after) })
				source, log := start(t, v)
				time.Sleep(c.span)
				if n := v.count(&v.logins); n < c.fewest || n > c.mostLogins {
					t.Errorf("%d logins in %s", n, c.span)
				}
				if log.lines("ERROR", "") != 1 {
					t.Errorf("not one line:\n%s", log)
				}
				v.set(func() { v.fault = nil })
				within(t, source, vaultclient.MaxRetryAfter+30*time.Second)
			})
		})
	}
}

// azureHost is an attestor for Vault's azure method.
type azureHost struct{ host }

func (h *azureHost) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	evidence, err := h.host.Attest(ctx, audience)
	evidence.Method = "azure"
	return evidence, err
}

// Vault's azure method refuses with a 500, which is told at once like any refusal.
func TestAzureRefusalIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.fault = answering(http.StatusInternalServerError, "resource group not authorized") })
		source, _ := start(t, v, func(o *vaultlogin.Options) { o.Attestor = &azureHost{} })
		_, err := source.Token(t.Context())
		wantError(t, err, auth.ErrRefused, "Vault failed (500): resource group not authorized (this host is role/docker-host on i-0abc)")
		time.Sleep(time.Minute)
		v.set(func() { v.fault = answering(http.StatusInternalServerError, "503 Service Unavailable: busy") })
		time.Sleep(time.Minute)
		_, err = tryWithin(source, time.Second)
		wantError(t, err, auth.ErrUnavailable, "Vault failed (500): 503 Service Unavailable")
	})
}

func TestBatchTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.batch = true })
		source, log, stop := startStoppable(t, v, func(o *vaultlogin.Options) { o.RevokeOnShutdown = true })
		for range 10 * 60 {
			if token := within(t, source, time.Second); !v.lives(token) || token.Accessor != "" {
				t.Fatalf("%+v", token)
			}
			time.Sleep(time.Minute)
		}
		stop() // fails when Run ends with an error
		if logins, renewals, revoked := v.count(&v.logins), v.count(&v.renewals), v.count(&v.revoked); logins < 11 || logins > 13 || renewals+revoked > 0 {
			t.Errorf("%d logins, %d renewals, %d revocations\n%s", logins, renewals, revoked, log)
		}
	})
}

func TestNamespaceThatIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
		inTeam := func(o *vaultlogin.Options) {
			c, err := vaultclient.New(vaultclient.Config{Address: address, Dial: v.dial, Namespace: "team-a"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.CloseIdleConnections)
			o.Client = c
		}
		source, log := start(t, v, inTeam)
		_, err := tryWithin(source, time.Second)
		wantError(t, err, auth.ErrUnavailable, "asking whether it has namespaces: Vault is sealed")

		v.set(func() { v.fault, v.health = nil, `{"version":"1.21.2","enterprise":false}` })
		time.Sleep(30 * time.Second)
		_, err = tryWithin(source, 0)
		wantError(t, err, auth.ErrRefused, `vault.namespace is "team-a", but this server is a Vault Community, which has no namespaces`)
		if n := v.count(&v.logins); n > 0 || log.lines("ERROR", "no Vault token") != 2 {
			t.Errorf("%d logins at the root; the log says:\n%s", n, log)
		}

		v.set(func() { v.health = `{"version":"1.21.2+ent","enterprise":true}` })
		time.Sleep(30 * time.Second)
		within(t, source, 0)
		before := v.count(&v.requests)
		v.revokeAll()
		if retry, err := source.Refused(t.Context(), within(t, source, 0)); !retry || err != nil {
			t.Errorf("retry %v, %v", retry, err)
		}
		within(t, source, time.Second)
		if n := v.count(&v.requests) - before; n != 2 { // the question about the token and the login
			t.Errorf("%d requests: the server is asked more than once what it is", n)
		}
	})
}

// Hosts that start together log in one after another when they are told to.
func TestSpread(t *testing.T) {
	const hosts, ceiling = 1000, 100
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		var mu sync.Mutex
		var at []time.Duration
		began := time.Now()
		v.set(func() {
			v.fault = func(string, http.ResponseWriter) bool {
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Since(began))
				return false
			}
		})
		random := rand.New(rand.NewPCG(1, 2))
		var waiting sync.WaitGroup
		for range hosts {
			jitter := random.Float64()
			source, _ := start(t, v, func(o *vaultlogin.Options) {
				o.Spread = 2 * hosts / ceiling * time.Second
				o.Jitter = func() float64 { return jitter }
			})
			waiting.Go(func() { within(t, source, 21*time.Second) })
		}
		waiting.Wait()
		most, first := 0, 0
		for last := range at {
			for at[last]-at[first] >= time.Second {
				first++
			}
			most = max(most, last-first+1)
		}
		t.Logf("%d hosts: at most %d logins within a second, the last after %s", hosts, most, at[len(at)-1])
		if len(at) != hosts || most > ceiling {
			t.Errorf("%d logins, %d within a second", len(at), most)
		}
	})
}

// Near the end of its time a token is renewed or replaced, whichever Vault
// grants; a token that outlives an outage costs no login.
func TestLastStretch(t *testing.T) {
	for name, c := range map[string]struct {
		renewalsFail bool
		logins       int
	}{"renewals work again": {false, 1}, "renewals go on failing": {true, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t)
				source, log := start(t, v)
				within(t, source, time.Second)
				v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
				time.Sleep(55 * time.Minute)
				v.set(func() {
					v.fault = func(path string, w http.ResponseWriter) bool {
						if !c.renewalsFail || path != "auth/token/renew-self" {
							return false
						}
						refuse(w, http.StatusInternalServerError, "internal error")
						return true
					}
				})
				time.Sleep(time.Minute)
				if token := within(t, source, 0); !v.lives(token) || v.count(&v.granted) != c.logins {
					t.Errorf("%d logins\n%s", v.count(&v.granted), log)
				}
				if log.lines("WARN", "the one held goes on") != 1 {
					t.Errorf("not one line:\n%s", log)
				}
			})
		})
	}
}
