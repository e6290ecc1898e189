//go:build integration

package vaultlogin_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/test/realvault"
)

const (
	stormHosts = 1000
	ceiling    = 100 // logins a second that Vault grants
)

// A thousand hosts start at once: real HTTP, a real Vault with the rate-limit
// quota that the package comment describes, evidence that STS verifies.
func TestRealVaultStorm(t *testing.T) {
	for name, spread := range map[string]time.Duration{"quota alone": 0, "quota and spread": 2 * stormHosts / ceiling * time.Second} {
		t.Run(name, func(t *testing.T) {
			v := newRealVault(t, newCloud(t), realvault.Options{})
			limitLogins(t, v, ceiling)
			ready, told := storm(t, v, spread)
			took := ready[stormHosts-1].Seconds()
			granted := requests(t, v, "auth/aws/login") // Vault's audit has those that the quota let through
			t.Logf("%d hosts ready in %.1f s: %d logins, %.0f a second in the mean, at most %d within one (quota %d a second); %d hosts were told to wait",
				stormHosts, took, granted, float64(granted)/took, busiest(ready), ceiling, told)
			if granted != stormHosts {
				t.Errorf("%d logins of %d hosts", granted, stormHosts)
			}
			if float64(granted) > ceiling*(took+1) {
				t.Errorf("%d logins in %.1f s: more than the quota grants", granted, took)
			}
		})
	}
}

// busiest is the most that happened within a second. Times are sorted.
func busiest(at []time.Duration) int {
	most, first := 0, 0
	for last := range at {
		for at[last]-at[first] >= time.Second {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// limitLogins makes Vault refuse logins beyond a rate and say when to come back.
func limitLogins(t *testing.T, v *realvault.Vault, perSecond int) {
	t.Helper()
	for path, settings := range map[string]map[string]any{
		"sys/quotas/config":            {"enable_rate_limit_response_headers": true},
		"sys/quotas/rate-limit/logins": {"path": "auth/aws/login", "rate": perSecond, "interval": "1s"},
	} {
		if _, err := v.Client().Logical().WriteWithContext(t.Context(), path, settings); err != nil {
			t.Fatal(err)
		}
	}
}

// storm starts hosts that share nothing, waits until each has its token, and
// ends them. It returns when they had it, in order, and how many had trouble
// before.
func storm(t *testing.T, v *realvault.Vault, spread time.Duration) (ready []time.Duration, told int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running, waiting sync.WaitGroup
	ready = make([]time.Duration, stormHosts)
	logs := make([]*logText, stormHosts)
	began := time.Now()
	for i := range stormHosts {
		logs[i] = &logText{}
		source := stormHost(t, v, logs[i], spread)
		running.Go(func() {
			if err := source.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		waiting.Go(func() {
			if err := readyWithin(source, time.Minute); err != nil {
				t.Errorf("not ready: %v", err)
			}
			ready[i] = time.Since(began)
		})
	}
	waiting.Wait()
	stop()
	running.Wait()
	for _, log := range logs {
		told += log.lines("ERROR", "Vault limits requests (429)")
	}
	slices.Sort(ready)
	return ready, told
}

// readyWithin waits for a token, as an agent at its start does. That a refusal
// is told at once must not end it: the one metadata service that all hosts
// share here may be too slow for some.
func readyWithin(source *vaultlogin.Source, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		_, err := tryWithin(source, time.Until(deadline))
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func stormHost(t *testing.T, v *realvault.Vault, log *logText, spread time.Duration) *vaultlogin.Source {
	t.Helper()
	attestor, err := aws.New(aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := vaultclient.New(vaultclient.Config{Address: v.Address()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	source, err := vaultlogin.New(vaultlogin.Options{
		Client: client, Attestor: attestor, Role: "docker-host", Audience: serverID, Logger: log.logger(), Spread: spread,
	})
	if err != nil {
		t.Fatal(err)
	}
	return source
}
