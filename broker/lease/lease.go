// Package lease decides when: when to renew what has an end, when to get a new
// one instead, when to read again what has none, and how long to wait after a
// failure.
//
// Everything here is a pure function of durations and of a jitter in [0, 1)
// that the caller draws. Jitter spreads a fleet that was started in one moment,
// so that it does not ask in one moment for ever after. The caller keeps the
// clock.
package lease

import "time"

// Step is what to do next with something that was granted for a time.
type Step int

const (
	Keep    Step = iota // it has no end
	Renew               // ask for more time, same value
	Replace             // get a new one before this one ends
)

// Next says what to do next and how long after the grant. ttl is what the
// last grant or renewal gave, full what the first gave. A renewal that gives
// clearly less than that has met the end that no renewal can move (Vault's
// max TTL), so what is left is for getting a new one. When both are zero there
// is no end.
func Next(ttl, full time.Duration, renewable bool, jitter float64) (Step, time.Duration) {
	switch {
	case ttl <= 0 && full <= 0:
		return Keep, 0
	case !renewable || ttl < full/10*9:
		return Replace, ReplaceAfter(ttl, jitter)
	}
	return Renew, RenewAfter(ttl, jitter)
}

// RenewAfter is when to renew: at two thirds of ttl, or up to a tenth of that
// earlier. A third of ttl is left for the attempts that may follow.
func RenewAfter(ttl time.Duration, jitter float64) time.Duration {
	due := float64(ttl) * 2 / 3
	return time.Duration(due - due/10*jitter)
}

// ReplaceAfter is when to begin to get a new one: between eight and nine
// tenths of ttl. What is left is for the attempts that may follow.
func ReplaceAfter(ttl time.Duration, jitter float64) time.Duration {
	return time.Duration(float64(ttl) * (0.8 + 0.1*jitter))
}

// RefreshAfter is when to read again: after interval, or up to a tenth of it
// earlier, so that what is read again in time is never older than interval.
func RefreshAfter(interval time.Duration, jitter float64) time.Duration {
	return interval - time.Duration(float64(interval)/10*jitter)
}

// Backoff is how long to wait after failures in a row: a random share of a
// limit that doubles from First to Max ("full jitter").
type Backoff struct{ First, Max time.Duration }

// Delay is the wait after the given number of failures in a row, from 1.
func (b Backoff) Delay(failures int, jitter float64) time.Duration {
	limit := min(b.First, b.Max)
	for range failures - 1 {
		if limit >= b.Max-limit { // doubling would pass Max, or overflow
			limit = b.Max
			break
		}
		limit *= 2
	}
	return time.Duration(float64(limit) * jitter)
}

// DelayAfter is the wait when the server has asked for one of its own: at
// least that, and the backoff's on top, so that those who were told the same
// number do not come back in the same moment.
func (b Backoff) DelayAfter(asked time.Duration, failures int, jitter float64) time.Duration {
	return max(asked, 0) + b.Delay(failures, jitter)
}

// StartAfter is when to begin within spread, for what many do at once.
func StartAfter(spread time.Duration, jitter float64) time.Duration {
	return time.Duration(float64(spread) * jitter)
}

// sleep is the least that Missed reports: more than what setting a clock right
// step by step moves it by between two looks.
const sleep = 10 * time.Second

// Missed is how much time passed that timers did not count, because the machine
// slept: what the clock on the wall gained on the monotonic one, which stops
// meanwhile. Both are measured between the same two looks, a minute or so
// apart. A wall clock that somebody sets ahead looks the same, so this is a
// reason to ask whether what was granted still lives, not to give it up. Zero:
// nothing worth asking for; a clock that was set back is no reason.
func Missed(monotonic, wall time.Duration) time.Duration {
	if missed := wall - monotonic; missed >= sleep {
		return missed
	}
	return 0
}
