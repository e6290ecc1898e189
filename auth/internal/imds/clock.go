package imds

import (
	"fmt"
	"net/http"
	"time"
)

// tolerated is the difference between two clocks that needs no correcting. The
// Date header counts whole seconds, a request may take some, and clouds take
// proofs that are minutes old or young.
const tolerated = time.Minute

// Clock is this host's clock beside its cloud's, which the Date header of the
// metadata service tells: that takes its time from the cloud and not from the
// machine. The zero value has not been told anything and takes the host's clock
// for right.
//
// What proves an identity carries times, so a host whose clock is wrong by an
// hour could not prove who it is until somebody set the clock. The metadata
// service is believed about the identity itself, and so it is about the time.
type Clock struct {
	ahead time.Duration // how far the host's clock goes before the cloud's; below zero: behind it
	told  bool
}

// Note reads the Date header of an answer that came at now, by the host's
// clock. One that cannot be read changes nothing.
func (c *Clock) Note(header http.Header, now time.Time) {
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		c.ahead, c.told = now.Sub(date), true
	}
}

// Ahead is how far the host's clock goes before the other one (below zero:
// behind it), and whether that is known.
func (c Clock) Ahead() (ahead time.Duration, told bool) { return c.ahead, c.told }

// Wrong reports whether the difference needs correcting.
func (c Clock) Wrong() bool { return c.ahead.Abs() > tolerated }

// Correct is now, by the host's clock, as the cloud's clock has it.
func (c Clock) Correct(now time.Time) time.Time {
	if !c.Wrong() {
		return now
	}
	return now.Add(-c.ahead)
}

// Left is how much time what the cloud lets end then has at now, by the host's
// clock. It is zero or less for what has ended.
func (c Clock) Left(ends, now time.Time) time.Duration { return ends.Sub(c.Correct(now)) }

// Doubt goes behind the reason why something has ended already: without the
// cloud's time it may be the host's clock. It is empty where the time is known.
func (c Clock) Doubt() string {
	if c.told {
		return ""
	}
	return ", or this machine's clock is wrong"
}

// String is what to know of the host's clock, in words for whoever can set it;
// it is empty for one that is right.
func (c Clock) String() string {
	side := "ahead"
	if c.ahead < 0 {
		side = "behind"
	}
	if !c.Wrong() {
		return ""
	}
	return fmt.Sprintf("this host's clock is %s %s: set it; until then logins go by its cloud's", c.ahead.Abs().Round(time.Minute), side)
}
