package vaultlogin_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth/vaultlogin"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
	// blind is how long after the end of an outage nobody can know of it: a
	// request that hangs is waited for, and Vault has asked to be left alone.
	// A token that ends within that time cannot be saved.
	blind = 20 * time.Second
	// patience is how long after the end of an outage nobody may be without a token.
	patience = 5 * time.Minute
)

// flap is one outage of a Vault that flaps.
type flap struct {
	begin, end time.Duration // since the start
	fault      func(path string, w http.ResponseWriter) bool
	forgets    bool // Vault comes back without the tokens it had granted
	killed     bool // set by the run: the token held did not outlive it
}

// flaps are the outages of a year: one every three days or so, of seconds to
// hours, each of another kind.
func flaps(random *rand.Rand) []*flap {
	kinds := []func(string, http.ResponseWriter) bool{
		answering(http.StatusServiceUnavailable, "Vault is sealed"),
		answering(http.StatusInternalServerError, "internal error"),
		func(string, http.ResponseWriter) bool { panic(http.ErrAbortHandler) },
		func(_ string, w http.ResponseWriter) bool {
			w.Header().Set("Retry-After", "20")
			refuse(w, http.StatusTooManyRequests, "rate limit quota exceeded")
			return true
		},
		func(string, http.ResponseWriter) bool {
			time.Sleep(11 * time.Second) // more than a client waits
			return true
		},
	}
	var list []*flap
	for at := day; at < year; {
		// From ten seconds to three hours, every order of magnitude as likely as the next.
		length := time.Duration(float64(10*time.Second) * math.Pow(3*360, random.Float64()))
		f := &flap{begin: at, end: at + length, fault: kinds[random.IntN(len(kinds))], forgets: random.IntN(10) == 0}
		list = append(list, f)
		at = f.end + time.Duration(float64(5*day)*random.Float64()) + patience
	}
	return list
}

// fewestLogins is how many logins a year needs at least: a token lives until its
// max TTL or until the first outage that is deadly to it, and the next login is
// then, or when Vault is back.
func fewestLogins(list []*flap, maxTTL time.Duration, deadly func(*flap) bool) int {
	logins := 0
	for born := time.Duration(0); born < year; logins++ {
		end := born + maxTTL
		for _, f := range list {
			inside := f.begin <= end && end < f.end // it ends while nobody can log in
			if f.begin >= born && (inside || (f.begin < end && deadly(f))) {
				end = f.end
				break
			}
		}
		born = end
	}
	return logins
}

// A year of token life with a Vault that flaps: the token held is never dead
// for long once Vault can be reached, and there are no more logins than
// needed, whatever year it is. What is needed is counted from the outages: a
// login when a token has reached its max TTL, or has died in an outage because
// it was last renewed, at two thirds of its time, too long before the end of that.
func TestAYear(t *testing.T) {
	for name, maxTTL := range map[string]time.Duration{"max TTL 24 h": day, "max TTL 32 d": 32 * day} {
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprintf("%s, seed %d", name, seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { liveAYear(t, rand.New(rand.NewPCG(seed, uint64(maxTTL))), maxTTL) })
			})
		}
	}
}

func liveAYear(t *testing.T, random *rand.Rand, maxTTL time.Duration) {
	const ttl = time.Hour
	began, v, list := time.Now(), newVault(t), flaps(random)
	v.set(func() { v.ttl, v.maxTTL = ttl, maxTTL })
	source, log := start(t, v, func(o *vaultlogin.Options) { o.Jitter = random.Float64 })
	use := &user{vault: v, source: source, reachable: began}
	for _, f := range list {
		use.until(t, began.Add(f.begin))
		end, before := v.lastEnd(), v.count(&v.granted)
		v.set(func() { v.fault = f.fault })
		if f.forgets {
			v.revokeAll()
		}
		use.outage(t, began.Add(f.end))
		v.set(func() { v.fault = nil })
		use.reachable = time.Now()
		use.until(t, began.Add(f.end+2*blind))
		lost := end.Before(began.Add(f.end+blind)) && v.count(&v.granted) > before
		f.killed = f.forgets || end.Before(began.Add(f.end)) || lost
	}
	use.until(t, began.Add(year))

	granted := v.count(&v.granted)
	needed := fewestLogins(list, maxTTL, func(f *flap) bool { return f.killed })
	least := fewestLogins(list, maxTTL, func(f *flap) bool { return f.forgets || f.end-f.begin > ttl })
	t.Logf("%d outages: %d logins granted, %d needed, %d if each outage had begun just after a renewal; %d renewals, %d attempts to log in; "+
		"longest without a living token while Vault was reachable: %s; %d lines in the log",
		len(list), granted, needed, least, v.count(&v.renewals), v.count(&v.logins), use.longest,
		log.lines("INFO", "")+log.lines("WARN", "")+log.lines("ERROR", ""))
	if granted < needed || float64(granted) > float64(needed)*1.01 {
		t.Errorf("%d logins; %d are needed", granted, needed)
	}
	if use.longest >= patience {
		t.Errorf("no living token although Vault had been reachable for %s", use.longest)
	}
}

// user asks for the token as a provider does, every few minutes and more often
// after an outage, and tells the source when Vault does not accept it.
type user struct {
	vault     *vault
	source    *vaultlogin.Source
	reachable time.Time     // since when
	longest   time.Duration // without a living token, since reachable
}

// until uses the token until the given time, Vault being reachable.
func (u *user) until(t *testing.T, end time.Time) {
	for pause := 5 * time.Second; time.Now().Before(end); time.Sleep(min(pause, time.Until(end))) {
		if time.Since(u.reachable) > patience {
			pause = patience / 2
		}
		token, err := tryWithin(u.source, 0)
		if err == nil && u.vault.lives(token) {
			continue
		}
		u.longest = max(u.longest, time.Since(u.reachable))
		if err == nil {
			if _, err := u.source.Refused(t.Context(), token); err != nil {
				t.Errorf("asking about a token that Vault refused: %v", err)
			}
		}
	}
}

// outage waits for the end of one; a token that has ended is not handed out.
func (u *user) outage(t *testing.T, end time.Time) {
	for ; time.Now().Before(end); time.Sleep(min(2*time.Minute, time.Until(end))) {
		if token, err := tryWithin(u.source, 0); err == nil && time.Now().After(u.source.State().Expires) {
			t.Errorf("a token is handed out after its end: %s", token.Accessor)
		}
	}
}
