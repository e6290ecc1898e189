package vaultlogin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/providers"
)

// startDelegation runs a Delegation over a host's login until the test ends.
func startDelegation(t *testing.T, v *vault, change ...func(*vaultlogin.DelegationOptions)) (*vaultlogin.Delegation, *vaultlogin.Source, *logText) {
	t.Helper()
	jitter := func() float64 { return 0.5 }
	attestor := &host{}
	login, log := start(t, v)
	client := client(t, v)
	options := vaultlogin.DelegationOptions{
		Client: client, Host: login, Logger: log.logger(), Jitter: jitter,
		Login: func(role string) (*vaultlogin.Source, error) {
			return vaultlogin.New(vaultlogin.Options{Client: client, Attestor: attestor, Role: role, Logger: log.logger(), Jitter: jitter})
		},
	}
	for _, f := range change {
		f(&options)
	}
	d, err := vaultlogin.NewDelegation(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d, login, log
}

// container is a client that asks for nothing but a token of its own.
func container(n int) providers.Client {
	return providers.Client{Container: fmt.Sprintf("container-%d", n)}
}

func tokenOf(source auth.TokenSource, patience time.Duration) (auth.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return source.Token(ctx)
}

// Children live as long as they are needed, whatever becomes of their parents,
// and cost one token for each token of the host.
func TestChildrenLiveOn(t *testing.T) {
	const containers = 50
	for name, c := range map[string]struct {
		maxTTL        time.Duration
		fixed         bool
		fewest, most  int // tokens of the host in a day
		renewals      bool
		furtherTokens int // of each child, beside one for each of the host's
	}{
		"renewed for ever":  {fewest: 1, most: 1, renewals: true},
		"capped by max TTL": {maxTTL: 6 * time.Hour, fewest: 4, most: 6, renewals: true, furtherTokens: 1}, // the children meet it, too
		"not renewable":     {fixed: true, fewest: 26, most: 31, furtherTokens: 31},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t)
				v.set(func() { v.ttl, v.maxTTL, v.fixed = time.Hour, c.maxTTL, c.fixed })
				d, _, log := startDelegation(t, v)
				for range 24 * 12 {
					for i := range containers {
						if token, err := tokenOf(d.Source(container(i)), time.Second); err != nil || !v.lives(token) {
							t.Fatalf("%+v, %v", token, err)
						}
					}
					time.Sleep(5 * time.Minute)
				}
				logins, made, renewals := v.count(&v.logins), v.count(&v.created), v.count(&v.renewals)
				if logins < c.fewest || logins > c.most || made < containers*logins || made > containers*(logins+c.furtherTokens) || (renewals > 0) != c.renewals {
					t.Errorf("%d logins, %d tokens made, %d renewals", logins, made, renewals)
				}
				if log.lines("WARN", "")+log.lines("ERROR", "") > 0 {
					t.Errorf("trouble in the log:\n%s", log)
				}
			})
		})
	}
}

// What hangs on a child has until its parent's end, once that was replaced.
func TestChildIsSupersededWithItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.maxTTL = 3 * time.Hour })
		d, host, _ := startDelegation(t, v)
		source := d.Source(container(1))
		parent := within(t, host, time.Second)
		first, err := tokenOf(source, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for replaced := false; !replaced; _, replaced = host.Superseded(parent.Accessor) {
			if _, superseded := source.Superseded(first.Accessor); superseded {
				t.Fatal("superseded before its parent")
			}
			time.Sleep(time.Minute)
		}
		parentEnds, _ := host.Superseded(parent.Accessor)
		for _, when := range []string{"before there is another", "after"} {
			if ends, superseded := source.Superseded(first.Accessor); !superseded || !ends.Equal(parentEnds) || !v.lives(first) {
				t.Errorf("%s: ends %s, superseded %v; its parent ends %s", when, ends, superseded, parentEnds)
			}
			if second, err := tokenOf(source, time.Second); err != nil || second.Accessor == first.Accessor {
				t.Errorf("%+v, %v", second, err)
			}
		}
		if _, superseded := source.Superseded("somebody else's"); superseded {
			t.Error("a token that was never handed out is superseded")
		}
	})
}

// An outage of Vault is not answered with a request for each child at each turn.
func TestChildrenInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const containers = 500
		v := newVault(t)
		d, _, log := startDelegation(t, v)
		for i := range containers {
			if _, err := tokenOf(d.Source(container(i)), time.Second); err != nil {
				t.Fatal(err)
			}
		}
		v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
		before := v.count(&v.requests)
		time.Sleep(50 * time.Minute) // their renewals are due, and they live
		// The host's own attempts, and eight for the children, at most every second, for twelve minutes.
		if n := v.count(&v.requests) - before; n > 1000 {
			t.Errorf("%d requests in the outage", n)
		}
		v.set(func() { v.fault = nil })
		time.Sleep(3 * time.Minute)
		for i := range containers {
			if token, err := tokenOf(d.Source(container(i)), time.Second); err != nil || !v.lives(token) {
				t.Fatalf("%+v, %v", token, err)
			}
		}
		if made := v.count(&v.created); made != containers {
			t.Errorf("%d tokens made: they were not renewed in time", made)
		}
		time.Sleep(time.Hour)
		if log.lines("WARN", "") != 1 || log.lines("ERROR", "") != 0 { // the host's own renewal
			t.Errorf("not one line for each change:\n%s", log)
		}
	})
}

// A refusal is told at once to all who wait, and Vault is not asked for each.
func TestRefusedChild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		d, host, _ := startDelegation(t, v)
		within(t, host, time.Second)
		v.set(func() { v.fault = denyingChildren })
		source := d.Source(container(1))
		ask := func() {
			_, err := source.Token(t.Context())
			wantError(t, err, auth.ErrRefused, `token for container container-1: making the token: Vault denies it (403): permission denied (a policy of the host's role must say: `+
				`path "auth/token/create" { capabilities = ["update"] })`)
		}
		together(200, ask)
		if n := v.count(&v.requests); n > 10 {
			t.Errorf("200 callers made %d requests", n)
		}
		for range 3600 {
			ask()
			time.Sleep(time.Second)
		}
		if n := v.count(&v.requests); n > 2*3600/15+20 {
			t.Errorf("%d requests in an hour of refusals", n)
		}
		v.set(func() { v.fault = nil }) // somebody wrote the policy
		time.Sleep(30 * time.Second)
		if _, err := tokenOf(source, time.Second); err != nil {
			t.Error(err)
		}
	})
}

func denyingChildren(path string, w http.ResponseWriter) bool {
	if path != "auth/token/create" {
		return false
	}
	refuse(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
	return true
}

// A Vault that forgets each child at once is not stormed with requests for more.
func TestChildrenThatDieYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		d, _, _ := startDelegation(t, v)
		source := d.Source(container(1))
		for began := time.Now(); time.Since(began) < 10*time.Minute; {
			token, err := tokenOf(source, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			v.set(func() { v.tokens[string(token.Value.Reveal())].revoked = true }) // the test's own server granted it
			if retry, err := source.Refused(t.Context(), token); !retry || err != nil {
				t.Fatalf("retry %v, %v", retry, err)
			}
		}
		if n := v.count(&v.created); n < 10 || n > 60 {
			t.Errorf("%d tokens made in ten minutes", n)
		}
	})
}

// While Vault is down, a child whose parent was replaced is handed out as long
// as it lives.
func TestOldChildInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		v.set(func() { v.maxTTL = 3 * time.Hour })
		d, host, _ := startDelegation(t, v)
		source, parent := d.Source(container(1)), within(t, host, time.Second)
		time.Sleep(time.Hour) // so that the child's own end is far
		first, err := tokenOf(source, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for replaced := false; !replaced; _, replaced = host.Superseded(parent.Accessor) {
			time.Sleep(time.Second)
		}
		v.set(func() { v.fault = answering(http.StatusServiceUnavailable, "Vault is sealed") })
		if again, err := tokenOf(source, time.Second); err != nil || !again.Value.Equal(first.Value) || !v.lives(again) {
			t.Errorf("%+v, %v", again, err)
		}
		time.Sleep(20 * time.Minute)
		_, err = tokenOf(source, time.Second)
		wantError(t, err, auth.ErrUnavailable, "Vault is sealed")
	})
}

func TestChildrenAfterASleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, clock := newVault(t), &wall{}
		d, _, _ := startDelegation(t, v, func(o *vaultlogin.DelegationOptions) { o.Wall = clock.now })
		source := d.Source(container(1))
		if _, err := tokenOf(source, time.Second); err != nil {
			t.Fatal(err)
		}
		v.set(func() {
			for _, g := range v.tokens {
				if g.parent != nil {
					g.end = g.end.Add(-40 * time.Minute) // time passed for Vault
				}
			}
		})
		clock.set(40 * time.Minute)
		for range 60 {
			time.Sleep(time.Minute)
			if token, err := tokenOf(source, 0); err != nil || !v.lives(token) {
				t.Fatalf("the token was not renewed in time: %v", err)
			}
		}
		if n := v.count(&v.created); n != 1 {
			t.Errorf("%d tokens made", n)
		}
	})
}

// A login as a grant's own role lasts as long as a container needs it, and a
// little longer; then its token is revoked.
func TestRoleLoginEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		d, _, log := startDelegation(t, v)
		use := func(n int) {
			client := container(n)
			client.Role = "docker-host-cache"
			if token, err := tokenOf(d.Source(client), time.Second); err != nil || !v.lives(token) {
				t.Fatalf("%+v, %v", token, err)
			}
		}
		for n := range 24 { // a container that runs for a moment every five minutes
			use(n)
			if err := d.Forget(t.Context(), container(n).Container); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Minute)
		}
		if logins, revoked := v.count(&v.logins), v.count(&v.revoked); logins != 2 || revoked != 24 { // the host's and the role's; each child
			t.Errorf("%d logins, %d tokens revoked", logins, revoked)
		}
		time.Sleep(15 * time.Minute)
		if n := v.count(&v.revoked); n != 25 {
			t.Errorf("the role's token was not revoked: %d", n)
		}
		use(1)
		if n := v.count(&v.logins); n != 3 || log.lines("WARN", "") > 0 {
			t.Errorf("%d logins\n%s", n, log)
		}
	})
}

func TestNewDelegationRefuses(t *testing.T) {
	if _, err := vaultlogin.NewDelegation(vaultlogin.DelegationOptions{}); err == nil {
		t.Error("no error")
	}
}

// A role that cannot be logged in as at all is told to whoever reads.
func TestRoleThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		d, _, _ := startDelegation(t, v, func(o *vaultlogin.DelegationOptions) {
			o.Login = func(string) (*vaultlogin.Source, error) { return nil, errors.New("no attestor for it") }
		})
		client := container(1)
		client.Role = "other"
		_, err := d.Source(client).Token(t.Context())
		wantError(t, err, auth.ErrRefused, "token for container container-1: no attestor for it")
		if err := d.Forget(t.Context(), client.Container); err != nil {
			t.Error(err)
		}
	})
}
