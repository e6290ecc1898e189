package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// unwrapParam, as unwrap=true, says that the secret read is a wrapping token,
// and that what it wraps is wanted: so somebody can leave a secret for one
// container where others may read, since a wrapping token opens once. Who
// comes second is told, and that is the point of it: when the agent does, the
// secret has been seen by another.
const unwrapParam = "unwrap"

// wantsUnwrap reads the parameters of a key-value secret, of which this is the
// only one.
func wantsUnwrap(ref secret.Ref) (bool, error) {
	switch {
	case len(ref.Params) == 0:
		return false, nil
	case len(ref.Params) == 1 && slices.Equal(ref.Params[unwrapParam], []string{"true"}):
		return true, nil
	}
	return false, fmt.Errorf("%w: %s: a key-value secret takes no parameters but unwrap=true", providers.ErrInvalid, ref.Path)
}

// unwraps remembers what the agent itself has opened, so that an alarm can say
// whether it was that. It may be used by several goroutines.
type unwraps struct {
	key []byte // a token is remembered by its MAC under this

	mu    sync.Mutex
	byRef map[string]unwrapping // the last one of each ref
}

type unwrapping struct {
	mac   string
	asked time.Time
}

func newUnwraps() *unwraps {
	key := make([]byte, 32)
	rand.Read(key) // it never fails
	return &unwraps{key: key, byRef: map[string]unwrapping{}}
}

// begin notes that token is being opened for ref, and returns when it was
// before; zero: never.
func (u *unwraps) begin(ref secret.Ref, token secret.Value, now time.Time) (before time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	mac, name := token.MAC(u.key), ref.String()
	if last := u.byRef[name]; last.mac == mac {
		return last.asked
	}
	u.byRef[name] = unwrapping{mac, now}
	return time.Time{}
}

// unwrap opens the wrapping token that the secret holder consists of.
func (p *Provider) unwrap(ctx context.Context, ref secret.Ref, holder secret.Secret) (secret.Secret, error) {
	defer holder.Wipe()
	token, err := holder.Select("")
	if err != nil {
		return secret.Secret{}, fmt.Errorf("%w: %s: unwrap=true wants a secret whose one field is the wrapping token; the fields are: %s",
			providers.ErrInvalid, ref.Path, strings.Join(holder.Names(), ", "))
	}
	token = secret.NewValue(bytes.TrimSpace(token.Reveal())) // the same buffer, without the line end that an editor adds
	asked := p.now()
	before := p.unwraps.begin(ref, token, asked)
	// The wrapping token is the token of the request: it may do this and nothing else.
	got, err := p.client.With(token).Logical().WriteWithContext(ctx, "sys/wrapping/unwrap", nil)
	if failure := vaultclient.Classify(err); failure != nil {
		return secret.Secret{}, closed(ref, failure, before)
	}
	return unwrapped(ref, got, asked)
}

// closed says what it means that a wrapping token did not open.
func closed(ref secret.Ref, failure *vaultclient.Failure, before time.Time) error {
	switch {
	case !failure.Decided():
		return fmt.Errorf("%w: unwrapping what is kept at %s: %w", providers.ErrUnavailable, ref.Path, failure)
	case before.IsZero():
		return fmt.Errorf("%w: TAMPER ALARM: the wrapping token at %s was opened by somebody else, or has ended: "+
			"treat what it wrapped as stolen, find in Vault's audit log who unwrapped it, and wrap a new secret: %w", providers.ErrDenied, ref.Path, failure)
	}
	return fmt.Errorf("%w: the wrapping token at %s was opened by this agent at %s, and opens once: wrap a new one for each start: %w",
		providers.ErrDenied, ref.Path, before.UTC().Format(time.RFC3339), failure)
}

// unwrapped is the answer that was wrapped. Its lease hangs on the token of
// whoever wrapped it, which nobody names.
func unwrapped(ref secret.Ref, got *api.Secret, asked time.Time) (secret.Secret, error) {
	if foreign(got) {
		return secret.Secret{}, fmt.Errorf("%w: unwrapping what is kept at %s: the answer is not one of Vault's: is that Vault?", providers.ErrUnavailable, ref.Path)
	}
	if got != nil && got.Auth != nil {
		return secret.Secret{}, fmt.Errorf("%w: what was wrapped at %s is a login to Vault, not a secret for a container", providers.ErrInvalid, ref.Path)
	}
	inner := answer{Secret: got, asked: asked}
	if got != nil {
		data, isMap := got.Data["data"].(map[string]any)
		if names := slices.Sorted(maps.Keys(got.Data)); isMap && slices.Equal(names, []string{"data", "metadata"}) {
			inner.Data = data // a read of version 2 of the key-value engine
		}
	}
	return inner.secret(ref)
}
