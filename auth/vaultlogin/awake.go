package vaultlogin

import (
	"time"

	"github.com/quaymaster/quaymaster/broker/lease"
)

// look is how long the loop sleeps at most, so that it notices within that
// time that the machine itself has slept (lease.Awake).
const look = time.Minute

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
