// Package providers holds the nouns of where secrets live.
//
// A Provider reads secrets from one service; each service has a package of its
// own below this one. What only some services can do is a second, optional
// interface. Errors are told apart by the decision that follows from them.
package providers

import (
	"context"
	"errors"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Provider reads secrets. It may be used by several goroutines.
type Provider interface {
	// Fetch reads the secret that ref names, whole: ref.Field is ignored. It
	// makes one attempt and returns when ctx ends. An error wraps exactly one
	// of the errors below, names the ref, and never carries a value.
	Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error)
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
