package imds_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

func dated(at time.Time) http.Header {
	return http.Header{"Date": {at.UTC().Format(http.TimeFormat)}}
}

func TestClock(t *testing.T) {
	cloud := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const after = ": set it; until then logins go by its cloud's"
	for ahead, want := range map[time.Duration]string{
		0: "", time.Minute: "", -time.Minute: "",
		61 * time.Second: "this host's clock is 1m0s ahead" + after, -61 * time.Second: "this host's clock is 1m0s behind" + after,
		26 * time.Hour: "this host's clock is 26h0m0s ahead" + after, -26 * time.Hour: "this host's clock is 26h0m0s behind" + after,
	} {
		var clock imds.Clock
		host := cloud.Add(ahead)
		clock.Note(dated(cloud), host)
		now := cloud
		if want == "" {
			now = host
		}
		if clock.String() != want || clock.Doubt() != "" {
			t.Errorf("%s: %q, %q", ahead, clock, clock.Doubt())
		}
		if got := clock.Correct(host); !got.Equal(now) {
			t.Errorf("%s: corrected it is %s", ahead, got)
		}
		if got := clock.Left(now.Add(time.Hour), host); got != time.Hour {
			t.Errorf("%s: of an hour %s are left", ahead, got)
		}
	}
}

// Without the cloud's time the host's is all there is, and it may be wrong.
func TestClockThatWasToldNothing(t *testing.T) {
	host := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, header := range map[string]http.Header{"no date": {}, "no true date": {"Date": {"yesterday"}}} {
		var clock imds.Clock
		clock.Note(header, host)
		if clock.String() != "" || clock.Doubt() != ", or this machine's clock is wrong" || !clock.Correct(host).Equal(host) {
			t.Errorf("%s: %q, %q", name, clock, clock.Doubt())
		}
	}
	var clock imds.Clock
	clock.Note(dated(host.Add(-time.Hour)), host)
	clock.Note(http.Header{}, host)
	if got := clock.Correct(host); !got.Equal(host.Add(-time.Hour)) {
		t.Errorf("after an answer without a date it is %s", got)
	}
}
