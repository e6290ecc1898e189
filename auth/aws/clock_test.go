package aws_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
)

func at(shift time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(shift) }
}

// STS takes what a host signs whose clock is wrong, and the remark says that it
// is; a clock that is right is not remarked on.
func TestWrongClocks(t *testing.T) {
	w := newWorld(t)
	for shift, remark := range map[time.Duration]string{
		0: "", 50 * time.Second: "", -50 * time.Second: "",
		14 * time.Minute: "; this host's clock is 14m0s ahead: set it", -14 * time.Minute: "; this host's clock is 14m0s behind: set it",
		time.Hour: "; this host's clock is 1h0m0s ahead: set it", -time.Hour: "; this host's clock is 1h0m0s behind: set it",
		// Longer than the keys live, and longer than they were issued for.
		26 * time.Hour: "; this host's clock is 26h0m0s ahead", -26 * time.Hour: "; this host's clock is 26h0m0s behind",
	} {
		evidence, err := attest(t, aws.Options{Now: at(shift)}, "vault.internal")
		if err != nil {
			t.Errorf("%s: %v", shift, err)
			continue
		}
		if status, body := send(t, request(t, evidence)); status != http.StatusOK {
			t.Errorf("%s: STS answers %d: %s", shift, status, body)
		}
		if !strings.HasPrefix(evidence.Remark, "signed for "+w.sts+"/"+remark) || (remark == "" && strings.Contains(evidence.Remark, "clock")) {
			t.Errorf("%s: the remark is %q", shift, evidence.Remark)
		}
	}
}

// A metadata service that tells no time, or no true one, is no help: what is
// signed is refused, and the remark names what was believed.
func TestNoTimeToTell(t *testing.T) {
	w := newWorld(t)
	refused := func(shift time.Duration, remark string) {
		t.Helper()
		evidence, err := attest(t, aws.Options{Now: at(shift)}, "vault.internal")
		if err != nil {
			t.Fatal(err)
		}
		if status, body := send(t, request(t, evidence)); status != http.StatusForbidden || !strings.Contains(evidence.Remark, remark) {
			t.Errorf("STS answers %d: %s; the remark is %q", status, body, evidence.Remark)
		}
	}
	w.imds.SetSkew(-time.Hour)
	refused(0, "1h0m0s ahead")
	w.imds.SetUndated(true)
	refused(time.Hour, "signed for "+w.sts)
	w.imds.SetUndated(false)
	w.imds.SetSkew(0)
	evidence, err := attest(t, aws.Options{Now: at(time.Hour)}, "")
	if status, _ := send(t, request(t, evidence)); err != nil || status != http.StatusOK {
		t.Errorf("afterwards: %d, %v", status, err)
	}
}

// Whether keys have ended is a question of AWS's time, not of the host's.
func TestEndedKeysUnderAWrongClock(t *testing.T) {
	w := newWorld(t)
	w.imds.SetExpired(true)
	if _, err := attest(t, aws.Options{Now: at(-time.Hour)}, ""); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "that ended at") {
		t.Errorf("ended keys: %v", err)
	}
	w.imds.SetExpired(false)
	w.imds.SetLifetime(30 * time.Minute)
	if _, err := attest(t, aws.Options{Now: at(time.Hour)}, ""); err != nil {
		t.Errorf("keys for another half hour: %v", err)
	}
}
