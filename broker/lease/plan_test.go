package lease_test

import (
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
)

func TestPlan(t *testing.T) {
	const floor = 10 * time.Second
	hour := lease.Terms{TTL: time.Hour, Full: time.Hour, Renewable: true}
	with := func(change func(*lease.Terms)) lease.Terms {
		terms := hour
		change(&terms)
		return terms
	}
	for name, c := range map[string]struct {
		terms  lease.Terms
		jitter float64
		step   lease.Step
		after  time.Duration
	}{
		"no end":                      {lease.Terms{}, late, lease.Keep, 0},
		"just granted":                {hour, early, lease.Renew, 40 * time.Minute},
		"granted a while ago":         {with(func(t *lease.Terms) { t.Age = 10 * time.Minute }), early, lease.Renew, 30 * time.Minute},
		"overdue":                     {with(func(t *lease.Terms) { t.Age = 50 * time.Minute }), early, lease.Renew, 0},
		"ended":                       {with(func(t *lease.Terms) { t.Age = 2 * time.Hour }), early, lease.Replace, 0},
		"not renewable":               {with(func(t *lease.Terms) { t.Renewable = false }), late, lease.Replace, 54 * time.Minute},
		"nothing granted":             {lease.Terms{Full: time.Hour, Renewable: true}, early, lease.Replace, floor},
		"no end, bounded":             {lease.Terms{Bounded: true, Left: 50 * time.Minute}, late, lease.Replace, 40 * time.Minute},
		"bounded, first of many":      {with(func(t *lease.Terms) { t.Age, t.Bounded, t.Left = time.Minute, true, 5*time.Minute }), early, lease.Replace, 0},
		"bounded, half way":           {with(func(t *lease.Terms) { t.Age, t.Bounded, t.Left = time.Minute, true, 5*time.Minute }), 0.5, lease.Replace, 2 * time.Minute},
		"bounded, last of many":       {with(func(t *lease.Terms) { t.Age, t.Bounded, t.Left = time.Minute, true, 5*time.Minute }), late, lease.Replace, 4 * time.Minute},
		"bounded, own end is nearer":  {with(func(t *lease.Terms) { t.Bounded, t.Left = true, 10*time.Hour }), 0.5, lease.Renew, 38 * time.Minute},
		"bound has passed":            {with(func(t *lease.Terms) { t.Age, t.Bounded, t.Left = time.Minute, true, -time.Hour }), late, lease.Replace, 0},
		"bound has passed, new grant": {with(func(t *lease.Terms) { t.Age, t.Bounded = 2*time.Second, true }), late, lease.Replace, 12 * time.Second},
		"a second, renewable":         {lease.Terms{TTL: time.Second, Full: time.Second, Renewable: true}, early, lease.Renew, floor},
		"a second, spread":            {lease.Terms{TTL: time.Second, Full: time.Second}, late, lease.Replace, 15 * time.Second},
		"a second, and long ago":      {lease.Terms{TTL: time.Second, Full: time.Second, Age: time.Minute}, late, lease.Replace, 0},
	} {
		step, after := lease.Plan(c.terms, floor, c.jitter)
		if step != c.step || (after-c.after).Abs() > time.Millisecond { // late is not quite one
			t.Errorf("%s: %v after %s; want %v after %s", name, step, after, c.step, c.after)
		}
	}
}

func TestRetry(t *testing.T) {
	for name, c := range map[string]struct {
		age, delay time.Duration
		failed     lease.Step
		step       lease.Step
		after      time.Duration
	}{
		"renewal, time is left":         {40 * time.Minute, time.Minute, lease.Renew, lease.Renew, time.Minute},
		"renewal, the last stretch":     {47 * time.Minute, time.Minute, lease.Renew, lease.Replace, time.Minute},
		"replacement":                   {40 * time.Minute, time.Minute, lease.Replace, lease.Replace, time.Minute},
		"replacement, the last stretch": {47 * time.Minute, time.Minute, lease.Replace, lease.Renew, time.Minute},
		"replacement, too late":         {59 * time.Minute, time.Minute, lease.Replace, lease.Replace, time.Minute},
		"just granted":                  {0, time.Second, lease.Replace, lease.Replace, lease.Floor},
	} {
		terms := lease.Terms{TTL: time.Hour, Full: time.Hour, Renewable: true, Age: c.age}
		if step, after := lease.Retry(terms, c.failed, c.delay, lease.Floor, early); step != c.step || !near(after, c.after) {
			t.Errorf("%s: %v after %s; want %v after %s", name, step, after, c.step, c.after)
		}
	}
	capped := lease.Terms{TTL: 20 * time.Minute, Full: time.Hour, Renewable: true, Age: 17 * time.Minute}
	if step, _ := lease.Retry(capped, lease.Replace, time.Second, lease.Floor, early); step != lease.Replace {
		t.Errorf("what met its end: %v", step)
	}
	if step, after := lease.Retry(lease.Terms{}, lease.Replace, time.Minute, lease.Floor, early); step != lease.Replace || after != time.Minute {
		t.Errorf("without an end: %v after %s", step, after)
	}
}

// keep plays a keeper over a span: each grant and renewal gives what grant
// returns. It counts both, and how long the thing was dead in all.
func keep(span, floor time.Duration, draw func() float64, grant func(renew bool) lease.Terms) (grants, renewals int, dead time.Duration) {
	terms := grant(false)
	for now := time.Duration(0); ; {
		step, after := lease.Plan(terms, floor, draw())
		if now += after; step == lease.Keep || now > span {
			return grants, renewals, dead
		}
		dead += max(after-terms.TTL, 0)
		if step == lease.Renew {
			renewals++
		} else {
			grants++
		}
		terms = grant(step == lease.Renew)
	}
}

// Whatever a server grants, it is not asked more often than the floor allows.
func TestPlanIsNoStorm(t *testing.T) {
	const span = time.Hour
	for _, ttl := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond, time.Second, 4 * time.Second} {
		for name, c := range map[string]struct{ renewable, shrinks, bounded bool }{
			"renewable": {renewable: true}, "not renewable": {},
			"renewals give less": {renewable: true, shrinks: true}, "made with a dead token": {renewable: true, bounded: true},
		} {
			grants, renewals, _ := keep(span, lease.Floor, func() float64 { return 0 }, func(renew bool) lease.Terms {
				terms := lease.Terms{TTL: ttl, Full: max(ttl, time.Nanosecond), Renewable: c.renewable, Bounded: c.bounded}
				if renew && c.shrinks {
					terms.TTL /= 100
				}
				return terms
			})
			if n := grants + renewals; n > int(span/lease.Floor) || n == 0 {
				t.Errorf("%s, %s: %d requests in an hour", name, ttl, n)
			}
		}
	}
}

// A lease of a minute that may live an hour is renewed and had anew once for
// each hour, and is never dead.
func TestPlanOverADay(t *testing.T) {
	var lived time.Duration
	grants, renewals, dead := keep(24*time.Hour, lease.Floor, func() float64 { return 0.5 }, func(renew bool) lease.Terms {
		terms := lease.Terms{TTL: time.Minute, Full: time.Minute, Renewable: true}
		if !renew {
			lived = 0
			return terms
		}
		lived += 38 * time.Second // two thirds, less half a tenth of that
		terms.TTL = min(terms.TTL, time.Hour-lived)
		return terms
	})
	if grants < 23 || grants > 25 || renewals > 24*100 || dead > 0 {
		t.Errorf("%d grants and %d renewals in a day; dead for %s", grants, renewals, dead)
	}
}
