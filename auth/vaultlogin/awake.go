package vaultlogin

import (
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
)

// look is how long the loop sleeps at most, so that it notices within that
// time that the machine itself has slept: timers do not count such time.
const look = time.Minute

// awake notices that the machine slept. Every deadline in this package goes by
// the monotonic clock, which nobody can set but which stops in a sleep.
type awake struct {
	wall           func() time.Time
	seen, seenWall time.Time
}

// missed is how much time passed unseen since it was called last; at its first
// call none.
func (a *awake) missed() time.Duration {
	now, wall := time.Now(), a.wall().Round(0) // without its monotonic reading, by which Sub would go
	before, wallBefore := a.seen, a.seenWall
	a.seen, a.seenWall = now, wall
	if before.IsZero() {
		return 0
	}
	return lease.Missed(now.Sub(before), wall.Sub(wallBefore))
}

// afterSleep is what to do when time was missed: a renewal tells whether the
// token outlived it, and until when; a token that cannot be renewed is replaced.
// Machines that were woken together do so one after another. The token is handed
// out meanwhile: if somebody just set the clock, it is good, and if it is not,
// whoever uses it is told so by Vault and calls Refused.
func (l *loop) afterSleep(missed time.Duration, next due) due {
	l.log.Info("the clock is ahead of what this process has seen pass: the machine slept, or its clock was set", "by", missed.Round(time.Second))
	l.change(func() { l.past.age(missed) })
	h := l.current()
	if h == nil || next.step == lease.Keep {
		return next
	}
	soon := due{lease.Renew, time.Now().Add(lease.StartAfter(l.backoff.Max, l.jitter()))}
	if !h.token.Renewable || next.step == lease.Replace {
		soon.step = lease.Replace
	}
	if next.at.Before(soon.at) {
		soon.at = next.at
	}
	return soon
}
