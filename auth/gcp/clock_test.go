package gcp_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
)

// at is a clock that goes before the machine's.
func at(shift time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(shift) }
}

// wrongClocks are how far a host's clock may go before Google's, and the remark.
var wrongClocks = map[time.Duration]string{
	0: "", 50 * time.Second: "", -50 * time.Second: "",
	time.Hour: "this host's clock is 1h0m0s ahead: set it", -time.Hour: "this host's clock is 1h0m0s behind: set it",
	// Longer than tokens live, and longer than claims may.
	26 * time.Hour: "this host's clock is 26h0m0s ahead: set it", -26 * time.Hour: "this host's clock is 26h0m0s behind: set it",
}

// The host's clock is the machine's here, and Google's is another: whatever the
// library does by the machine's clock goes wrong with it.
func TestWrongClocks(t *testing.T) {
	lives := map[gcp.Type]time.Duration{gcp.GCE: time.Hour, gcp.IAM: 10 * time.Minute}
	for ahead, remark := range wrongClocks {
		w := newWorldAt(t, at(-ahead))
		for kind, life := range lives {
			evidence, err := attest(t, w.options(kind), "")
			if err != nil {
				t.Errorf("%s, %s: %v", kind, ahead, err)
				continue
			}
			ends := time.Unix(int64(said(t, evidence)["exp"].(float64)), 0)
			if off := ends.Sub(at(-ahead)()) - life; off.Abs() > time.Minute {
				t.Errorf("%s, %s: ends %s after it should, by Google's clock", kind, ahead, off)
			}
			if !strings.HasPrefix(evidence.Remark, remark) || (remark == "" && evidence.Remark != "") {
				t.Errorf("%s, %s: the remark is %q", kind, ahead, evidence.Remark)
			}
		}
	}
}

// A token that has ended has ended, whatever the host's clock says.
func TestEndedByGooglesClock(t *testing.T) {
	for ahead := range wrongClocks {
		w := newWorldAt(t, at(-ahead))
		w.instance.SetLifetime(-2 * time.Minute)
		_, err := attest(t, w.options(gcp.GCE), "")
		if !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "an identity token that ended at ") || strings.Contains(err.Error(), "clock") {
			t.Errorf("%s: %v", ahead, err)
		}
	}
}

// Without Google's time there is the host's only, and errors say that it may be
// the reason.
func TestNoTimeToTell(t *testing.T) {
	for _, c := range []struct {
		kind  gcp.Type
		ahead time.Duration
		want  string // in the error; empty: none
	}{
		{gcp.GCE, 0, ""}, {gcp.IAM, 0, ""}, {gcp.GCE, -time.Hour, ""},
		{gcp.GCE, 2 * time.Hour, "it serves an old one, or this machine's clock is wrong"},
		{gcp.IAM, -time.Hour, "is this machine's clock right?"},
	} {
		w := newWorldAt(t, at(-c.ahead))
		w.instance.SetUndated(true)
		evidence, err := attest(t, w.options(c.kind), "")
		if evidence.Remark != "" || (err == nil) != (c.want == "") {
			t.Errorf("%s, %s: %q, %v", c.kind, c.ahead, evidence.Remark, err)
		}
		if err != nil && (!errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, %s: %v", c.kind, c.ahead, err)
		}
	}
}

// Access tokens are held for as long as they live and no longer.
func TestAccessTokensUnderAWrongClock(t *testing.T) {
	for ahead := range wrongClocks {
		for _, act := range []string{"", reader} {
			passed := time.Duration(0)
			w := newWorldAt(t, at(-ahead))
			w.cloud.AddServiceAccount("shop-prod", "reader")
			if err := w.cloud.AllowImpersonation(w.account, reader); err != nil {
				t.Fatal(err)
			}
			tokens := w.accessTokens(t, gcp.AccessOptions{Impersonate: act, Now: func() time.Time { return time.Now().Add(passed) }})
			first := get(t, tokens)
			passed = 53 * time.Minute
			if !get(t, tokens).Equal(first) {
				t.Errorf("%s, %q: a token with seven minutes left is not used", ahead, act)
			}
			passed = 58 * time.Minute
			if get(t, tokens).Equal(first) {
				t.Errorf("%s, %q: a token with two minutes left is handed out", ahead, act)
			}
		}
	}
}
