package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// lender is a provider that makes a new login for each read, under a lease of
// a token. It does what Vault's database engine does.
type lender struct {
	ttl, maxTTL time.Duration

	mu          sync.Mutex
	made        int
	leases      map[string]*loan
	renewed     int
	token       string               // what logins are made under now
	past        map[string]time.Time // tokens that were replaced, and when each ends
	moved       chan struct{}        // tells of a new token
	fails       error                // every request
	makesNone   error                // every request for a new login
	slow        time.Duration
	slowRenewal time.Duration
}

type loan struct {
	born, ends time.Time
	revoked    bool
}

func newLender(ttl, maxTTL time.Duration) *lender {
	return &lender{ttl: ttl, maxTTL: maxTTL, leases: map[string]*loan{}, token: "token-1", past: map[string]time.Time{}}
}

// begin returns the channel that tells of new tokens. It belongs to the bubble
// of synthetic time in which it is made.
func (l *lender) begin() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved = make(chan struct{}, 1)
	return l.moved
}

func (l *lender) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// Fetch implements providers.Provider.
func (l *lender) Fetch(_ context.Context, ref secret.Ref) (secret.Secret, error) {
	time.Sleep(l.slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(l.fails, l.makesNone); err != nil {
		return secret.Secret{}, fmt.Errorf("asked for %s: %w", ref, err)
	}
	l.made++
	id := fmt.Sprint("lease-", l.made)
	now := time.Now()
	l.leases[id] = &loan{born: now, ends: now.Add(l.ttl)}
	return secret.Secret{
		Ref: ref,
		Fields: map[string]secret.Value{
			"username": secret.NewValue(fmt.Appendf(nil, "%suser-%d", mark, l.made)),
			"password": secret.NewValue(fmt.Appendf(nil, "%spassword-%d", mark, l.made)),
		},
		Lease: secret.Lease{ID: id, IssuedAt: now, TTL: l.ttl, Renewable: true, Token: l.token},
	}, nil
}

// Issues implements providers.Issuer.
func (l *lender) Issues(_ context.Context, ref secret.Ref) (bool, error) {
	return strings.HasPrefix(ref.Path, "creds/"), nil
}

// Renew implements providers.Leaser.
func (l *lender) Renew(_ context.Context, lease secret.Lease) (secret.Lease, error) {
	time.Sleep(l.slowRenewal)
	l.mu.Lock()
	defer l.mu.Unlock()
	loan := l.leases[lease.ID]
	now := time.Now()
	switch {
	case l.fails != nil:
		return lease, fmt.Errorf("renewing: %w", l.fails)
	case loan == nil || loan.revoked || !now.Before(loan.ends):
		return lease, fmt.Errorf("%w: no such lease", providers.ErrNotFound)
	}
	l.renewed++
	loan.ends = now.Add(l.ttl)
	if last := loan.born.Add(l.maxTTL); loan.ends.After(last) {
		loan.ends = last
	}
	lease.IssuedAt, lease.TTL = now, loan.ends.Sub(now)
	return lease, nil
}

// Revoke implements providers.Leaser.
func (l *lender) Revoke(_ context.Context, lease secret.Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails != nil {
		return fmt.Errorf("revoking: %w", l.fails)
	}
	if loan := l.leases[lease.ID]; loan != nil {
		loan.revoked = true
	}
	return nil
}

// Bound implements providers.Leaser.
func (l *lender) Bound(lease secret.Lease) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.past[lease.Token]
}

// relogin replaces the token; what was made under the old one ends in that time.
func (l *lender) relogin(left time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.past[l.token] = time.Now().Add(left)
	for _, loan := range l.leases {
		if ends := l.past[l.token]; loan.ends.After(ends) {
			loan.ends = ends
		}
	}
	l.token = fmt.Sprint("token-", len(l.past)+1)
	select {
	case l.moved <- struct{}{}:
	default:
	}
}

// alive returns the numbers of the logins that work now.
func (l *lender) alive() (numbers []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, loan := range l.leases {
		if !loan.revoked && time.Now().Before(loan.ends) {
			var n int
			fmt.Sscanf(id, "lease-%d", &n)
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// works reports whether a login with these files would succeed.
func (l *lender) works(files map[string]string) bool {
	var n int
	if _, err := fmt.Sscanf(files["user"], "user-%d", &n); err != nil || files["password"] != fmt.Sprint("password-", n) {
		return false // a mixture
	}
	return slices.Contains(l.alive(), n)
}
