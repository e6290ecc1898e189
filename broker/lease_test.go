package broker_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quaymaster/quaymaster/broker"
	"github.com/quaymaster/quaymaster/inject"
)

// onLender runs a test on a host whose database makes logins for an hour,
// which can be renewed for four.
func onLender(t *testing.T, test func(t *testing.T, h *host, l *lender)) {
	t.Helper()
	l := newLender(time.Hour, 4*time.Hour)
	onHost(t, func(t *testing.T, h *host) { test(t, h, l) }, func(o *broker.Options) {
		o.Providers["db"], o.Moved = l, l.begin()
		o.Policy = shopMayRead(t, "vault:shop/**", "db:**")
	})
}

// login are the labels of a container that logs in to the database.
func login() []string {
	return []string{"quaymaster.secret.user", "db:creds/shop#username", "quaymaster.secret.password", "db:creds/shop#password"}
}

// works fails unless the container's files are one login that is good now.
func (h *host) works(l *lender, id string) {
	h.t.Helper()
	if files := h.files(id); !l.works(files) {
		h.t.Errorf("%s holds %v, and the logins %v are good", id, files, l.alive())
	}
}

// What is made when it is read belongs to one container, however many ask for
// it with one ref; its fields come from one read.
func TestIssuedSecretsBelongToOneContainer(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		for _, id := range []string{"one", "two"} {
			h.engine.create(id, login()...)
			h.starts(id)
			h.works(l, id)
		}
		if got := l.alive(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("logins %v", got)
		}
		h.engine.create("shared1", "quaymaster.secret.a", "db:static/shop#username")
		h.engine.create("shared2", "quaymaster.secret.a", "db:static/shop#username")
		h.starts("shared1")
		h.starts("shared2")
		if got := l.alive(); !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("logins %v", got)
		}
	})
}

// A lease is renewed in time and keeps its value, up to the end that no renewal
// moves; before that, there is a new login, in one swap.
func TestLeasesAreRenewedAndReplaced(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		h.engine.create("db", login()...)
		h.starts("db")
		before := h.generation("db")
		for range 200 {
			h.sleep(time.Minute)
			h.works(l, "db")
		}
		h.unchanged("db", before)
		if l.renewed < 4 || l.made != 1 {
			t.Errorf("%d renewals and %d logins in 200 minutes", l.renewed, l.made)
		}
		for range 24 * 60 {
			h.sleep(time.Minute)
			h.works(l, "db")
		}
		if l.made < 7 || l.made > 12 {
			t.Errorf("%d logins in a day, each good for four hours", l.made)
		}
	})
}

// While its provider is away, a renewal is tried again; the login goes on as
// long as it lives, and is replaced as soon as that is possible.
func TestLeasesThroughAnOutage(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		h.engine.create("db", login()...)
		h.starts("db")
		l.set(func() { l.fails = errUnavailable })
		h.sleep(55 * time.Minute)
		h.works(l, "db")
		h.wasLogged("could not be read again", 1)
		l.set(func() { l.fails = nil })
		h.sleep(time.Minute)
		h.works(l, "db")
		h.wasLogged("can be read again", 1)
		l.set(func() { l.fails = errUnavailable })
		h.sleep(3 * time.Hour)
		l.set(func() { l.fails = nil })
		h.sleep(time.Minute)
		h.works(l, "db")
		if l.made != 2 { // the second outage outlasted the login
			t.Errorf("%d logins", l.made)
		}
	})
}

// A lease that the provider has forgotten is replaced, and not renewed for ever.
func TestLostLeaseIsReplaced(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		h.engine.create("db", login()...)
		h.starts("db")
		l.set(func() { l.leases["lease-1"].revoked = true })
		h.sleep(45 * time.Minute) // the renewal is due
		h.works(l, "db")
	})
}

// When the token is replaced that leases hang on, they are had anew under the
// new token before the old one ends, and not all in one moment.
func TestLeasesMoveToTheNewToken(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		const containers = 20
		for i := range containers {
			id := fmt.Sprint("db", i)
			h.engine.create(id, login()...)
			h.starts(id)
		}
		l.relogin(10 * time.Minute)
		for range 20 {
			h.sleep(time.Minute)
			for i := range containers {
				h.works(l, fmt.Sprint("db", i))
			}
		}
		if l.made != 2*containers {
			t.Errorf("%d logins for %d containers and one new token", l.made, containers)
		}
		l.relogin(0) // the token was revoked
		h.sleep(time.Minute)
		for i := range containers {
			h.works(l, fmt.Sprint("db", i))
		}
		if l.made != 3*containers {
			t.Errorf("%d logins for %d containers and two new tokens", l.made, containers)
		}
	})
}

// A token that is replaced shortly before its end leaves little time, and none
// is lost.
func TestLeasesMoveInSeconds(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		h.engine.create("db", login()...)
		h.starts("db")
		h.sleep(5*time.Minute + time.Second) // just after housekeeping
		l.relogin(2 * time.Second)
		for range 20 {
			h.sleep(time.Second)
			h.works(l, "db")
		}
	})
}

// A container that is removed leaves no login behind, not even one that was
// replaced and lives on, and not while its provider was away.
func TestRemovedContainersLeaveNoLogins(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		h.engine.create("db", login()...)
		h.engine.create("other", login()...)
		h.starts("db")
		h.starts("other")
		h.reports(inject.Died, "db")
		if got := l.alive(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("a container that ended may start again, and the logins are %v", got)
		}
		h.starts("db")
		h.works(l, "db")
		if l.made != 2 {
			t.Errorf("%d logins: a start did not use what it had", l.made)
		}
		l.relogin(30 * time.Minute)
		h.sleep(20 * time.Minute) // both logins of db live
		l.set(func() { l.fails = errUnavailable })
		h.reports(inject.Removed, "db")
		h.sleep(time.Minute)
		l.set(func() { l.fails = nil })
		h.sleep(time.Minute)
		if got := l.alive(); len(got) == 0 || slices.Contains(got, 1) || slices.Contains(got, 3) && slices.Contains(got, 4) {
			t.Errorf("logins %v", got)
		}
		h.works(l, "other")
		h.wasLogged("revoked, because its container is no more", 2)
	})
}

// A container that goes away while its login is made leaves none behind.
func TestLoginThatComesTooLateIsRevoked(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		l.slow = time.Second
		h.engine.create("db", login()...)
		go h.deliver(t.Context(), arrival("db"))
		time.Sleep(time.Second / 2)
		h.reports(inject.Removed, "db")
		h.sleep(10 * time.Second)
		synctest.Wait()
		if got := l.alive(); l.made != 1 || len(got) != 0 {
			t.Errorf("logins %v of %d", got, l.made)
		}
	})
}

// While no new login can be made, the one there is goes on being renewed.
func TestRenewalTakesTurnsWithReplacement(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		h.engine.create("db", login()...)
		h.starts("db")
		l.set(func() { l.fails = errUnavailable })
		h.sleep(50 * time.Minute) // now a new one is asked for
		l.set(func() { l.fails, l.makesNone = nil, errUnavailable })
		h.sleep(30 * time.Minute)
		h.works(l, "db")
		if l.made != 1 {
			t.Errorf("%d logins", l.made)
		}
	})
}

// A lease that ends soon is renewed from the start that brought it.
func TestShortLeaseIsRenewedFromTheStart(t *testing.T) {
	l := newLender(20*time.Second, time.Hour)
	onHost(t, func(t *testing.T, h *host) {
		h.sleep(time.Hour)
		l.set(func() { l.slow = time.Second })
		h.engine.create("db", login()...)
		h.starts("db")
		for range 30 {
			h.sleep(time.Second)
			h.works(l, "db")
		}
		if l.made != 1 {
			t.Errorf("%d logins", l.made)
		}
	}, func(o *broker.Options) {
		o.Providers["db"], o.Moved = l, l.begin()
		o.Policy = shopMayRead(t, "db:**")
	})
}

// A lease that was replaced while it was being renewed lives as long as the
// renewal says, and is revoked with its container.
func TestLeaseThatIsRenewedAfterItWasReplaced(t *testing.T) {
	onLender(t, func(t *testing.T, h *host, l *lender) {
		h.engine.create("db", login()...)
		h.starts("db")
		l.set(func() { l.slowRenewal = 5 * time.Second })
		h.sleep(40*time.Minute + time.Second) // the renewal is under way
		h.reports(inject.Died, "db")
		h.starts("db")
		h.sleep(30 * time.Minute)
		if got := l.alive(); !slices.Equal(got, []int{1, 2}) {
			t.Fatalf("logins %v", got)
		}
		h.reports(inject.Removed, "db")
		h.sleep(time.Minute)
		if got := l.alive(); len(got) != 0 {
			t.Errorf("logins %v", got)
		}
	})
}

// A machine that slept finds its leases older than its timers do: what has
// ended is had anew at once, and what lives is renewed in its own time.
func TestLeasesAfterASleep(t *testing.T) {
	var slept atomic.Int64
	l := newLender(time.Hour, 4*time.Hour)
	onHost(t, func(t *testing.T, h *host) {
		h.engine.create("db", login()...)
		h.starts("db")
		h.sleep(10 * time.Minute)
		slept.Store(int64(3 * time.Hour))
		l.set(func() { l.leases["lease-1"].revoked = true }) // it has ended in its sleep
		h.sleep(time.Minute)
		h.works(l, "db")
		if l.made != 2 || l.renewed != 0 {
			t.Errorf("%d logins and %d renewals", l.made, l.renewed)
		}
		slept.Add(int64(30 * time.Minute))
		h.sleep(time.Minute)
		for range 30 {
			h.sleep(time.Minute)
			h.works(l, "db")
		}
		if l.made != 2 || l.renewed == 0 {
			t.Errorf("%d logins and %d renewals", l.made, l.renewed)
		}
	}, func(o *broker.Options) {
		o.Providers["db"], o.Moved = l, l.begin()
		o.Policy = shopMayRead(t, "db:**")
		o.Wall = func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
	})
}
