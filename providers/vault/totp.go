package vault

import (
	"context"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// codePeriod is how long a code is the code of the moment, as Vault's keys have
// it by default; to look at a key would need a policy that shows its secret.
const codePeriod = 30 * time.Second

// fetchCode reads a code, which is good for the rest of its period. A key of
// another period is served too: its code is read again at least as often.
func (p *Provider) fetchCode(ctx context.Context, m mount, ref secret.Ref) (secret.Secret, error) {
	found, err := p.fetchRead(ctx, m, ref)
	if err == nil {
		found.Lease.TTL = restOfPeriod(found.Lease.IssuedAt)
	}
	return found, err
}

// restOfPeriod is at least a second, so that who asks at the end of a period
// does not ask many times.
func restOfPeriod(now time.Time) time.Duration {
	return max(codePeriod-time.Duration(now.UnixNano()%int64(codePeriod)), time.Second)
}
