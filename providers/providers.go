// Package providers holds the nouns of where secrets live.
//
// A Provider reads secrets from one service; each service has a package of its
// own below this one. What only some services can do is a second, optional
// interface. Errors are told apart by the decision that follows from them.
package providers

import (
	"context"
	"errors"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Provider reads secrets. It may be used by several goroutines.
type Provider interface {
	// Fetch reads the secret that ref names, whole: ref.Field is ignored. It
	// makes one attempt and returns when ctx ends. An error wraps exactly one
	// of the errors below, names the ref, and never carries a value.
	Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error)
}

// Leaser is a provider whose secrets are given for a time, under leases.
type Leaser interface {
	// Renew asks for more time for what was given under lease, which keeps
	// its value. The lease that it returns may grant less than was asked for:
	// then the end is near that no renewal can move.
	Renew(ctx context.Context, lease secret.Lease) (secret.Lease, error)
	// Revoke ends what was given under lease now. A lease that has ended, or
	// that the service does not know, is no error.
	Revoke(ctx context.Context, lease secret.Lease) error
	// Bound is when the lease ends at the latest because of what it hangs on,
	// whatever its own TTL; zero when nothing is known to end it. It makes no
	// request.
	Bound(lease secret.Lease) time.Time
}

// Issuer is a provider some of whose secrets are made when they are read, and
// belong to the one who reads: a database login, a certificate.
type Issuer interface {
	// Issues reports whether each read of ref makes a secret of its own.
	Issues(ctx context.Context, ref secret.Ref) (bool, error)
}

// Batcher is a provider that reads several secrets in one request.
type Batcher interface {
	// FetchBatch reads refs, as Fetch reads one. The answers stand in the
	// order of refs, one for each.
	FetchBatch(ctx context.Context, refs []secret.Ref) []Answer
}

// Answer is what a read of one secret among several came to.
type Answer struct {
	Secret secret.Secret
	Err    error
}

// Versioner is a provider that can say which version of a secret is current
// without handing out its value.
type Versioner interface {
	CurrentVersion(ctx context.Context, ref secret.Ref) (string, error)
}

// Delegator is a provider that can read in the name of one container, so that
// the service's own audit log says for whom a secret was read.
type Delegator interface {
	// For returns a provider with the same powers that reads as client. It
	// makes no request. Calling it twice for one client gives the same login.
	For(client Client) Provider
	// Forget ends the login that was made for a container, if there is one.
	Forget(ctx context.Context, container string) error
}

// Client is a container in whose name a provider reads.
type Client struct {
	Container string // the engine's full ID
	// Role is the role to log in as instead of the host's own; empty: the
	// host's. Policies are all that the login may do; empty: all that the
	// role may.
	Role     string
	Policies []string
	// Metadata says to the service what the container is: "container_id",
	// "container_name", "image", "compose_project", "compose_service".
	Metadata map[string]string
}

// One error for each decision that a caller takes.
var (
	// ErrInvalid: the provider cannot make sense of the ref; no request was made.
	ErrInvalid = errors.New("not a secret of this provider")
	// ErrNotFound: the service says that there is no such secret or version.
	ErrNotFound = errors.New("not found")
	// ErrDenied: the service knows the host and says no.
	ErrDenied = errors.New("denied by the secret store")
	// ErrUnavailable: the service did not answer, or could not decide. The
	// last known value may be used meanwhile.
	ErrUnavailable = errors.New("secret store unavailable")
)
