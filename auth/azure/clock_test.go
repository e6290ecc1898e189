package azure_test

import (
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

// at is a clock that goes before the machine's.
func at(shift time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(shift) }
}

// wrongClocks are how far a host's clock may go before Azure's, and the remark.
// Tokens live 24 hours.
var wrongClocks = map[time.Duration]string{
	0: "", 50 * time.Second: "", -50 * time.Second: "",
	time.Hour: "this host's clock is 1h0m0s ahead: set it", -time.Hour: "this host's clock is 1h0m0s behind: set it",
	26 * time.Hour: "this host's clock is 26h0m0s ahead: set it", -26 * time.Hour: "this host's clock is 26h0m0s behind: set it",
}

// The host's clock is the machine's here, and Azure's is another: whatever
// Microsoft's library does by the machine's clock goes wrong with it.
func TestWrongClocks(t *testing.T) {
	for ahead, remark := range wrongClocks {
		service := newTenantAt(t, at(-ahead)).AddMachine(web1)
		evidence, err := on(t, service, "").Attest(t.Context(), "")
		if err != nil {
			t.Errorf("%s: %v", ahead, err)
			continue
		}
		ends := time.Unix(int64(claims(t, evidence)["exp"].(float64)), 0)
		if left := ends.Sub(at(-ahead)()); left < 23*time.Hour || left > 24*time.Hour {
			t.Errorf("%s: by Azure's clock it lives %s", ahead, left)
		}
		if !strings.HasPrefix(evidence.Remark, remark) || (remark == "" && evidence.Remark != "") {
			t.Errorf("%s: the remark is %q", ahead, evidence.Remark)
		}
	}
}

// A token that has ended has ended, whatever the host's clock says.
func TestEndedByAzuresClock(t *testing.T) {
	for ahead := range wrongClocks {
		service := newTenantAt(t, at(-ahead)).AddMachine(web1)
		service.SetLifetime(-2 * time.Minute)
		_, err := on(t, service, "").Attest(t.Context(), "")
		wantError(t, err, auth.ErrUnavailable, "that ended at ", "Azure has not renewed it yet: ")
	}
}

// Without Azure's time there is the host's only, and the error says that it may
// be the reason.
func TestNoTimeToTell(t *testing.T) {
	for ahead, want := range map[time.Duration]string{
		0: "", time.Hour: "", -26 * time.Hour: "", 26 * time.Hour: "Azure has not renewed it yet, or this machine's clock is wrong: ",
	} {
		service := newTenantAt(t, at(-ahead)).AddMachine(web1)
		service.SetUndated(true)
		evidence, err := on(t, service, "").Attest(t.Context(), "")
		switch {
		case want != "":
			wantError(t, err, auth.ErrUnavailable, want)
		case err != nil || evidence.Remark != "":
			t.Errorf("%s: %q, %v", ahead, evidence.Remark, err)
		}
	}
}

// Tokens are held for as long as they live and no longer, and Microsoft's
// clients, which go by the host's clock, hear an end that is true by it.
func TestCredentialUnderAWrongClock(t *testing.T) {
	for ahead := range wrongClocks {
		passed := time.Duration(0)
		service := newTenantAt(t, at(-ahead)).AddMachine(web1)
		credential := credentialAt(t, serve(t, service, cloudsim.Options{}), func() time.Time { return time.Now().Add(passed) })
		for _, step := range []struct {
			passed time.Duration
			asked  int
		}{{0, 1}, {23*time.Hour + 45*time.Minute, 1}, {23*time.Hour + 55*time.Minute, 2}} {
			passed = step.passed
			token, err := credential.GetToken(t.Context(), scope(keyVaultScope))
			if err != nil {
				t.Fatalf("%s: %v", ahead, err)
			}
			if n := service.Count("GET", azuresim.TokenPath); n != step.asked {
				t.Errorf("%s: after %s the service was asked %d times", ahead, step.passed, n)
			}
			if left := time.Until(token.ExpiresOn); step.passed == 0 && (left < 23*time.Hour+58*time.Minute || left > 24*time.Hour+time.Minute) {
				t.Errorf("%s: a client hears that the token lives %s", ahead, left)
			}
		}
	}
}
