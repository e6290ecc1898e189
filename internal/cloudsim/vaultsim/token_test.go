package vaultsim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
)

const dead = "* permission denied\n\t* invalid token"

func TestTokenIsRenewedUpToItsMaximum(t *testing.T) {
	w := newWorld(t)
	_, client := w.login(t, "docker-host")
	renew := func(increment, want int) (warnings string) {
		t.Helper()
		secret, err := client.Auth().Token().RenewSelfWithContext(t.Context(), increment)
		if err != nil {
			t.Fatal(err)
		}
		if secret.Auth.LeaseDuration != want {
			t.Errorf("renewed for %d seconds instead of %d", secret.Auth.LeaseDuration, want)
		}
		return strings.Join(secret.Warnings, "\n")
	}
	w.move(9 * time.Minute)
	renew(0, 600)
	renew(1800, 1800)
	w.move(25 * time.Minute)
	if warnings := renew(7200, 1560); warnings != `TTL of "2h" exceeded the effective max_ttl of "26m"; TTL value is capped accordingly` {
		t.Errorf("%q", warnings)
	}
	renew(0, 600)
	renew(1800, 1560)
	w.move(26 * time.Minute)
	if _, err := client.Auth().Token().RenewSelfWithContext(t.Context(), 0); status(err) != 403 || !strings.Contains(err.Error(), dead) {
		t.Errorf("past the maximum: %v", err)
	}
}

func TestIncrementsThatMakeNoSense(t *testing.T) {
	w := newWorld(t)
	_, client := w.login(t, "docker-host")
	for _, increment := range []any{"soon", []int{1}, true} {
		_, err := client.Logical().WriteWithContext(t.Context(), "auth/token/renew-self", map[string]any{"increment": increment})
		if status(err) != 400 || !strings.Contains(err.Error(), "increment") {
			t.Errorf("%v: %v", increment, err)
		}
	}
}

func TestPeriodicTokenHasNoMaximum(t *testing.T) {
	w := newWorld(t)
	w.putRole(t, vaultsim.IAMRole{Name: "periodic", Principal: "arn:aws:iam::" + accountID + ":role/docker-host", Period: 700 * time.Hour})
	_, client := w.login(t, "periodic")
	for range 3 { // the second renewal is past the system's maximum of 768 hours
		w.move(699 * time.Hour)
		secret, err := client.Auth().Token().RenewSelfWithContext(t.Context(), 60)
		if err != nil || secret.Auth.LeaseDuration != 700*3600 {
			t.Fatalf("%+v, %v", secret, err)
		}
	}
	w.move(700 * time.Hour)
	if _, err := client.Auth().Token().LookupSelfWithContext(t.Context()); status(err) != 403 {
		t.Errorf("without renewal: %v", err)
	}
}

func TestRenewalFollowsTheRole(t *testing.T) {
	w := newWorld(t)
	_, client := w.login(t, "docker-host")
	renew := func() (int, error) {
		secret, err := client.Auth().Token().RenewSelfWithContext(t.Context(), 0)
		if err != nil {
			return 0, err
		}
		return secret.Auth.LeaseDuration, nil
	}
	role := vaultsim.IAMRole{Name: "docker-host", Principal: "arn:aws:iam::" + accountID + ":role/docker-host", TTL: time.Minute, MaxTTL: time.Hour}
	w.putRole(t, role)
	if got, err := renew(); err != nil || got != 60 {
		t.Errorf("a role with another TTL: %d, %v", got, err)
	}
	role.Principal = "arn:aws:iam::" + accountID + ":role/other"
	w.putRole(t, role)
	if _, err := renew(); status(err) != 500 || !strings.Contains(err.Error(), "no longer bound") {
		t.Errorf("a role for somebody else: %v", err)
	}
	w.vault.RemoveRole("aws", "docker-host")
	if _, err := renew(); status(err) != 500 || !strings.Contains(err.Error(), "role entry not found") {
		t.Errorf("no role: %v", err)
	}
}

func TestTokensEnd(t *testing.T) {
	w := newWorld(t)
	_, first := w.login(t, "docker-host")
	_, second := w.login(t, "docker-host")
	issued := w.client(t, w.vault.IssueToken(time.Minute, "shop"))
	if err := first.Auth().Token().RevokeSelfWithContext(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if _, err := first.Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); status(err) != 403 || !strings.Contains(err.Error(), dead) {
		t.Errorf("revoked by itself: %v", err)
	}
	if _, err := issued.Auth().Token().RenewSelfWithContext(t.Context(), 0); status(err) != 400 || !strings.Contains(err.Error(), "not renewable") {
		t.Errorf("renewing what cannot be: %v", err)
	}
	if _, err := issued.Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); err != nil {
		t.Error(err)
	}
	w.move(time.Minute)
	if _, err := issued.Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); status(err) != 403 {
		t.Errorf("expired: %v", err)
	}
	if n := w.vault.RevokeTokens(); n != 1 {
		t.Errorf("revoked %d", n)
	}
	if _, err := second.Auth().Token().LookupSelfWithContext(t.Context()); status(err) != 403 || !strings.Contains(err.Error(), dead) {
		t.Errorf("all revoked: %v", err)
	}
	if _, err := w.client(t, w.vault.RootToken()).Auth().Token().LookupSelfWithContext(t.Context()); err != nil {
		t.Error(err)
	}
}
