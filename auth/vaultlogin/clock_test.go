package vaultlogin_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultlogin"
)

// wall is a clock that a test sets; timers do not go by it.
type wall struct{ ahead atomic.Int64 }

func (w *wall) set(by time.Duration) { w.ahead.Store(int64(by)) }
func (w *wall) now() time.Time       { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *wall) use(o *vaultlogin.Options) { o.Wall = w.now }

// notice is how long it takes at most until a sleep is noticed and dealt with:
// a look, and the longest pause that keeps machines apart.
const notice = time.Minute + 30*time.Second

// A machine sleeps for two hours: its timers stand still, its wall clock is
// right again when it wakes, and Vault has long forgotten the token.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, clock := newVault(t), &wall{}
		source, log := start(t, v, clock.use)
		first := within(t, source, time.Second)
		time.Sleep(10 * time.Minute)
		v.revokeAll()
		clock.set(2 * time.Hour)
		time.Sleep(notice)
		second := within(t, source, 0)
		if second.Value.Equal(first.Value) || !v.lives(second) {
			t.Errorf("the token that died in the sleep is handed out:\n%s", log)
		}
		if logins, requests := v.count(&v.logins), v.count(&v.requests); logins != 2 || requests != 3 { // the first login, the renewal that was refused, the second login
			t.Errorf("%d logins, %d requests", logins, requests)
		}
		if ends, superseded := source.Superseded(first.Accessor); !superseded || !ends.IsZero() {
			t.Errorf("the first token: ends %v, superseded %v", ends, superseded)
		}
		if log.lines("INFO", "the machine slept") != 1 || log.lines("WARN", "") != 1 || log.lines("ERROR", "") != 0 {
			t.Errorf("not one line for each change:\n%s", log)
		}
	})
}

// A short sleep leaves a token that ends sooner than timers tell.
func TestShortSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, clock := newVault(t), &wall{}
		source, _ := start(t, v, clock.use)
		first := within(t, source, time.Second)
		time.Sleep(10 * time.Minute)
		v.set(func() {
			for _, g := range v.tokens {
				g.end = g.end.Add(-40 * time.Minute) // time passed for Vault
			}
		})
		clock.set(40 * time.Minute)
		for range 60 { // past the end that timers tell
			time.Sleep(time.Minute)
			if token := within(t, source, 0); !v.lives(token) || !token.Value.Equal(first.Value) {
				t.Fatal("the token was not renewed in time")
			}
		}
		if n := v.count(&v.logins); n != 1 {
			t.Errorf("%d logins", n)
		}
	})
}

// Somebody sets the clock: the token lives on, and nobody logs in for it.
func TestClockIsSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"ahead": time.Hour, "back": -time.Hour, "a little": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, clock := newVault(t), &wall{}
				source, log := start(t, v, clock.use)
				token := within(t, source, time.Second)
				for range 3 * 24 {
					clock.set(by)
					time.Sleep(time.Hour / 2)
					clock.set(0)
					time.Sleep(time.Hour / 2)
					if again := within(t, source, 0); !again.Value.Equal(token.Value) || !v.lives(again) {
						t.Fatal("the token was given up or died")
					}
				}
				// Each step ahead costs one renewal, in whose place a later one is not needed.
				if logins, renewals := v.count(&v.logins), v.count(&v.renewals); logins != 1 || renewals > 2*3*24 {
					t.Errorf("%d logins, %d renewals", logins, renewals)
				}
				if log.lines("WARN", "")+log.lines("ERROR", "") > 0 {
					t.Errorf("trouble in the log:\n%s", log)
				}
			})
		})
	}
}

// What cannot be renewed is replaced after a sleep, once, by machine after machine.
func TestSleepOfManyMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const machines = 100
		v, clock := newVault(t), &wall{}
		v.set(func() { v.batch = true })
		for i := range machines {
			source, _ := start(t, v, clock.use, func(o *vaultlogin.Options) { o.Jitter = func() float64 { return float64(i) / machines } })
			within(t, source, time.Second)
		}
		clock.set(2 * time.Hour)
		v.revokeAll()
		most, before := 0, v.count(&v.logins)
		for range int(notice / time.Second) {
			time.Sleep(time.Second)
			now := v.count(&v.logins)
			most, before = max(most, now-before), now
		}
		if n := v.count(&v.logins); n != 2*machines || most > 5 {
			t.Errorf("%d logins of %d machines, up to %d in a second", n, machines, most)
		}
	})
}

// A token without an end needs no timer, and a sleep no request.
func TestSleepWithATokenWithoutAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, clock := newVault(t), &wall{}
		v.set(func() { v.ttl = 0 })
		source, _ := start(t, v, clock.use)
		within(t, source, time.Second)
		clock.set(2 * time.Hour)
		time.Sleep(notice)
		if n := v.count(&v.requests); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}
