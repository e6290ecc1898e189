package aws

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// tolerated is the difference between two clocks that needs no correcting. STS
// takes signatures that are 15 minutes old or young, the Date header counts
// whole seconds, and a request to the metadata service may take some.
const tolerated = time.Minute

// skew is how far this host's clock goes before AWS's (below zero: behind it),
// as the last Date header of the metadata service shows. The service takes its
// time from EC2 and not from the instance.
//
// A signature carries the time at which it was made and keys carry their end,
// so a host whose clock is wrong by an hour could not prove who it is until
// somebody set the clock. The metadata service is believed about the
// identity itself, and so it is about the time.
type skew struct{ ahead time.Duration }

// note reads the Date header of an answer that came at now. One that cannot be
// read changes nothing.
func (s *skew) note(header http.Header, now time.Time) {
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		s.ahead = now.Sub(date)
	}
}

func (s skew) wrong() bool { return s.ahead.Abs() > tolerated }

// correct is now as AWS's clock has it.
func (s skew) correct(now time.Time) time.Time {
	if !s.wrong() {
		return now
	}
	return now.Add(-s.ahead)
}

// String is empty for a clock that is right.
func (s skew) String() string {
	side := "ahead"
	if s.ahead < 0 {
		side = "behind"
	}
	if !s.wrong() {
		return ""
	}
	return fmt.Sprintf("this host's clock is %s %s: set it; until then logins go by AWS's", s.ahead.Abs().Round(time.Minute), side)
}

// measureClock asks the metadata service for nothing but its time, if it is
// there to tell it: every answer does, even a refusal.
func measureClock(ctx context.Context, now func() time.Time) skew {
	service, err := newMetadata(now)
	if err != nil {
		return skew{}
	}
	service.read(ctx, "placement/region") // whatever comes
	return service.last.clock
}
