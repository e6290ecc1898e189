package auth

import (
	"context"
	"errors"
)

// Sealer encrypts a key so that this host alone can have it back: by a key that
// never leaves the machine, or one of the cloud's that the host's own identity
// may use. It makes one attempt and leaves repeating to its caller. It may be
// used by several goroutines.
//
// An error wraps one of those below and holds nothing of a key.
type Sealer interface {
	// Seal encrypts a key of 32 bytes. What it returns is no secret.
	Seal(ctx context.Context, key []byte) (sealed []byte, err error)
	// Unseal returns the key that was sealed. The caller wipes it.
	Unseal(ctx context.Context, sealed []byte) (key []byte, err error)
}

// One error for each decision that the user of a Sealer takes.
var (
	// ErrNotSealedHere: it was altered, or another host or another key has
	// sealed it. It will never open: seal a new one.
	ErrNotSealedHere = errors.New("not sealed by this host")
	// ErrSealRefused: this host may not. Trying again does not mend it until
	// somebody changes something.
	ErrSealRefused = errors.New("sealing refused")
	// ErrSealUnavailable: nobody could decide. Trying again later may mend it.
	ErrSealUnavailable = errors.New("sealing not possible now")
)
