package lease_test

import (
	"math"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
)

const (
	early = 0.0
	late  = 0.999999999
)

// near allows for the last bits of a float.
func near(got, want time.Duration) bool { return (got - want).Abs() <= time.Microsecond }

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		ttl, full time.Duration
		renewable bool
		jitter    float64
		step      lease.Step
		after     time.Duration
	}{
		"no end":                       {0, 0, true, early, lease.Keep, 0},
		"nothing left after a renewal": {0, time.Hour, true, late, lease.Replace, 0},
		"renewable":                    {time.Hour, time.Hour, true, early, lease.Renew, 40 * time.Minute},
		"renewable, spread":            {time.Hour, time.Hour, true, late, lease.Renew, 36 * time.Minute},
		"renewal gave more":            {2 * time.Hour, time.Hour, true, early, lease.Renew, 80 * time.Minute},
		"rounded by a second":          {59 * time.Minute, time.Hour, true, early, lease.Renew, 2360 * time.Second},
		"capped by the max TTL":        {20 * time.Minute, time.Hour, true, early, lease.Replace, 16 * time.Minute},
		"not renewable":                {time.Hour, time.Hour, false, early, lease.Replace, 48 * time.Minute},
		"not renewable, spread":        {time.Hour, time.Hour, false, late, lease.Replace, 54 * time.Minute},
		"a minute, renewable":          {time.Minute, time.Minute, true, early, lease.Renew, 40 * time.Second},
		"the longest there can be":     {math.MaxInt64, math.MaxInt64, false, late, lease.Replace, time.Duration(math.MaxInt64 / 10 * 9)},
		"one second, not renewable":    {time.Second, time.Second, false, early, lease.Replace, 800 * time.Millisecond},
		"capped and spread":            {10 * time.Minute, time.Hour, true, late, lease.Replace, 9 * time.Minute},
		"a token without a first TTL":  {time.Hour, 0, true, early, lease.Renew, 40 * time.Minute},
	} {
		step, after := lease.Next(c.ttl, c.full, c.renewable, c.jitter)
		if tolerance := c.ttl / 1e6; step != c.step || (after-c.after).Abs() > max(tolerance, time.Microsecond) {
			t.Errorf("%s: %v after %s; want %v after %s", name, step, after, c.step, c.after)
		}
	}
}

// A step is always due before the end, and something is left for a second try.
func TestNextIsBeforeTheEnd(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, time.Minute, 768 * time.Hour, math.MaxInt64} {
		for _, jitter := range []float64{0, 0.25, 0.5, 0.75, late} {
			for _, renewable := range []bool{true, false} {
				if _, after := lease.Next(ttl, ttl, renewable, jitter); after <= 0 || after > ttl/10*9 {
					t.Errorf("%s: due after %s", ttl, after)
				}
			}
		}
	}
}

func TestRefreshAfter(t *testing.T) {
	if got := lease.RefreshAfter(time.Minute, early); got != time.Minute {
		t.Error(got)
	}
	if got := lease.RefreshAfter(time.Minute, late); !near(got, 54*time.Second) {
		t.Error(got)
	}
}

func TestBackoff(t *testing.T) {
	b := lease.Backoff{First: time.Second, Max: 30 * time.Second}
	for failures, limit := range map[int]time.Duration{
		0: 1, 1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 6: 30, 7: 30, 1000: 30, math.MaxInt: 30,
	} {
		limit *= time.Second
		if got := b.Delay(failures, late); !near(got, limit) || got > limit {
			t.Errorf("after %d failures: %s, want %s", failures, got, limit)
		}
		if got := b.Delay(failures, 0.5); !near(got, limit/2) {
			t.Errorf("after %d failures, half: %s", failures, got)
		}
		if got := b.Delay(failures, early); got != 0 {
			t.Errorf("after %d failures, none: %s", failures, got)
		}
	}
	if got := (lease.Backoff{First: time.Hour, Max: time.Minute}).Delay(1, late); !near(got, time.Minute) {
		t.Errorf("First above Max: %s", got)
	}
	if got := (lease.Backoff{First: 1 << 62, Max: math.MaxInt64}).Delay(9, 0.5); got <= 0 {
		t.Errorf("overflow: %s", got)
	}
}

func TestDelayAfter(t *testing.T) {
	b := lease.Backoff{First: time.Second, Max: 30 * time.Second}
	for _, c := range []struct {
		asked    time.Duration
		failures int
		jitter   float64
		want     time.Duration
	}{
		{0, 3, 0.5, 2 * time.Second},
		{10 * time.Second, 1, early, 10 * time.Second},
		{10 * time.Second, 2, late, 12 * time.Second},
		{-time.Second, 1, late, time.Second},
	} {
		if got := b.DelayAfter(c.asked, c.failures, c.jitter); !near(got, c.want) {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestStartAfter(t *testing.T) {
	for jitter, want := range map[float64]time.Duration{early: 0, 0.25: 15 * time.Second, late: time.Minute} {
		if got := lease.StartAfter(time.Minute, jitter); !near(got, want) {
			t.Errorf("%v: %s", jitter, got)
		}
	}
	if got := lease.StartAfter(0, late); got != 0 {
		t.Errorf("no spread: %s", got)
	}
}

// A machine that sleeps between two looks, one whose clock is set back, and one
// that stays awake.
func TestAwake(t *testing.T) {
	monotonic, wall := time.Now(), time.Now()
	awake := lease.Awake{Now: func() time.Time { return monotonic }, Wall: func() time.Time { return wall }}
	for i, c := range []struct{ monotonic, wall, want time.Duration }{
		{0, 0, 0}, {time.Minute, time.Minute, 0}, {time.Minute, 2 * time.Hour, 119 * time.Minute}, {time.Minute, -time.Hour, 0}, {time.Second, time.Minute, 59 * time.Second},
	} {
		monotonic, wall = monotonic.Add(c.monotonic), wall.Add(c.wall)
		if got := awake.Missed(); got != c.want {
			t.Errorf("look %d: missed %v, want %v", i, got, c.want)
		}
	}
}

func TestMissed(t *testing.T) {
	for _, c := range []struct{ monotonic, wall, want time.Duration }{
		{time.Minute, time.Minute, 0},
		{time.Minute, time.Minute + time.Second, 0},
		{time.Minute, 2*time.Hour + time.Minute, 2 * time.Hour},
		{time.Minute, -time.Hour, 0},
		{0, time.Hour, time.Hour},
	} {
		if got := lease.Missed(c.monotonic, c.wall); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
