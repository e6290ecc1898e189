package bootcache_test

import (
	"testing"
	"time"
	"unsafe"
)

// stepped is a time whose wall clock was set while its monotonic clock went on:
// the difference to earlier times is what it was, the time of day is not.
// There is no way to make one but by the layout of time.Time: wall holds, from
// its second bit on, 33 bits of seconds and 30 of nanoseconds.
func stepped(at time.Time, by time.Duration) time.Time {
	type layout struct {
		wall uint64
		ext  int64
		loc  *time.Location
	}
	l := (*layout)(unsafe.Pointer(&at))
	l.wall += uint64(by/time.Second) << 30
	return at
}

func TestSteppedIsWhatItSays(t *testing.T) {
	before := time.Now()
	for _, by := range []time.Duration{-2 * time.Hour, 3 * time.Hour} {
		after := stepped(before, by)
		if after.Sub(before) != 0 || after.Round(0).Sub(before.Round(0)) != by {
			t.Fatalf("%s: %s monotonic, %s by the time of day", by, after.Sub(before), after.Round(0).Sub(before.Round(0)))
		}
	}
}
