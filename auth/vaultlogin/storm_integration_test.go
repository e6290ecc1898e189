//go:build integration

package vaultlogin_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/test/realvault"
)

const (
	stormHosts = 1000
	// ceiling is how many logins Vault is to see within any second. Vault's quota
	// counts in seconds of its own, each of which begins with a full allowance,
	// so that a second laid across two of them may see twice the quota.
	ceiling = 100
	quota   = ceiling / 2
)

// A thousand hosts start at once: real HTTP, a real Vault with the rate-limit
// quota that the package comment describes, evidence that STS verifies. Vault's
// audit log, which has what the quota let through, says when each logged in.
func TestRealVaultStorm(t *testing.T) {
	for name, spread := range map[string]time.Duration{"quota alone": 0, "quota and spread": 2 * stormHosts / quota * time.Second} {
		t.Run(name, func(t *testing.T) {
			v := newRealVault(t, newCloud(t), realvault.Options{})
			limitLogins(t, v, quota)
			ready, told := storm(t, v, spread)
			at := loginTimes(t, v)
			took, busy := at[len(at)-1].Seconds(), busiest(at)
			t.Logf("%d hosts ready in %.1f s: %d logins, %.0f a second in the mean, at most %d within one (ceiling %d); %d hosts were told to wait",
				stormHosts, ready[stormHosts-1].Seconds(), len(at), float64(len(at))/took, busy, ceiling, told)
			if len(at) != stormHosts {
				t.Errorf("%d logins of %d hosts", len(at), stormHosts)
			}
			if busy > ceiling {
				t.Errorf("%d logins within a second: more than the ceiling of %d", busy, ceiling)
			}
		})
	}
}

// loginTimes are the logins in Vault's audit log, in their order, since the first.
func loginTimes(t *testing.T, v *realvault.Vault) (at []time.Duration) {
	t.Helper()
	entries, err := v.Audit("auth/aws/login", "")
	must(t, err)
	for _, e := range entries {
		at = append(at, e.Time.Sub(entries[0].Time))
	}
	slices.Sort(at)
	return at
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
	hosts := make([]*vaultlogin.Source, stormHosts)
	evidence := evidenceOf(t)
	for i := range stormHosts {
		logs[i] = &logText{}
		hosts[i] = stormHost(t, v, logs[i], spread, evidence[i])
	}
	began := time.Now()
	for i, source := range hosts {
		running.Go(func() {
			if err := source.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		waiting.Go(func() {
			if _, err := tryWithin(source, 3*time.Minute); err != nil {
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

// prepared is an attestor whose evidence was made before the storm (STS accepts
// it for a quarter of an hour): a thousand hosts have a thousand metadata
// services, and not the one that they would share here.
type prepared struct{ evidence auth.Evidence }

func (p *prepared) Attest(context.Context, string) (auth.Evidence, error) { return p.evidence, nil }

// evidenceOf prepares the attestors of all hosts.
func evidenceOf(t *testing.T) []*prepared {
	t.Helper()
	hosts := make([]*prepared, stormHosts)
	var group errgroup.Group
	group.SetLimit(8)
	for i := range hosts {
		group.Go(func() error {
			attestor, err := aws.New(aws.Options{})
			if err != nil {
				return err
			}
			evidence, err := attestor.Attest(t.Context(), serverID)
			hosts[i] = &prepared{evidence}
			return err
		})
	}
	must(t, group.Wait())
	return hosts
}

func stormHost(t *testing.T, v *realvault.Vault, log *logText, spread time.Duration, attestor auth.Attestor) *vaultlogin.Source {
	t.Helper()
	client, err := vaultclient.New(vaultclient.Config{Address: v.Address()})
	must(t, err)
	t.Cleanup(client.CloseIdleConnections)
	source, err := vaultlogin.New(vaultlogin.Options{
		Client: client, Attestor: attestor, Role: "docker-host", Audience: serverID, Logger: log.logger(), Spread: spread,
	})
	must(t, err)
	return source
}
