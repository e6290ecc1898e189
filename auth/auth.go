// Package auth holds the nouns of proving who the host is.
//
// An Attestor turns the machine's own cloud identity into Evidence; a
// TokenSource trades evidence for a Token and keeps it alive. Nothing here
// holds a static credential: evidence is made anew for every login, and a
// token lives in memory only. The one exception is auth/static, for laptops,
// whose evidence says that it is one.
//
// The packages below implement one cloud each (auth/aws) or one place to log
// in to (auth/vaultlogin).
package auth

import (
	"context"
	"errors"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
)

// Evidence is what a host shows to prove who it is.
type Evidence struct {
	// Method is the login method the evidence is for, in Vault's words: "aws";
	// or TokenMethod.
	Method string
	// Principal is who the host says it is, for people to read: an ARN, a
	// managed identity, a service account. The server decides for itself.
	Principal string
	// Login is the body of the login request. Its values are worth a login to
	// whoever holds them, for as long as the cloud accepts them.
	Login map[string]secret.Value
	// Static says which static credential the evidence is made of, for every
	// status to show: "a token in FILE". Empty: none, as it should be.
	Static string
	// Remark is what whoever looks for the reason of a refusal should know of
	// how the evidence was made: for whom it was signed, what is wrong with
	// this host's clock. Empty: nothing.
	Remark string
}

// TokenMethod is evidence that is a token already, under the name "token":
// there is nothing to log in for.
const TokenMethod = "token"

// Attestor makes evidence. It may be used by several goroutines.
type Attestor interface {
	// Attest asks the machine's own cloud for evidence that is good only for
	// audience (for AWS: the server ID that Vault expects; may be empty).
	// An error wraps ErrNoIdentity when the machine has no such identity.
	Attest(ctx context.Context, audience string) (Evidence, error)
}

// Token is what a login yields.
type Token struct {
	Value     secret.Value
	Accessor  string // names the token in the server's audit log; not secret
	Principal string // who the server accepted, in its own words
	Policies  []string
	IssuedAt  time.Time
	TTL       time.Duration // from IssuedAt or the last renewal; zero: no end
	Renewable bool
}

// TokenSource hands out the current token. It may be used by several
// goroutines; all callers share one login.
type TokenSource interface {
	// Token returns a token that is believed valid, logging in when there is
	// none and waiting for a login that is already under way.
	Token(ctx context.Context) (Token, error)

	// Refused tells the source that the server refused a request made with
	// token. The source asks the server whether the token still lives and
	// forgets it when it does not; it reports whether the caller should ask
	// for a token again and repeat its request.
	Refused(ctx context.Context, token Token) (retry bool, err error)

	// Superseded reports whether the token with this accessor, which the
	// source handed out once, has been replaced since, and when it ends: what
	// hangs on it is to be had anew, under the present token, before then. A
	// token that is known to be dead has ended already (zero).
	Superseded(accessor string) (ends time.Time, superseded bool)
}

// One error for each decision that a caller takes.
var (
	// ErrNoIdentity: the machine has no identity of this kind. Waiting does
	// not mend it.
	ErrNoIdentity = errors.New("this machine has no cloud identity")
	// ErrRefused: the server understood the evidence and said no. Trying
	// again does not mend it until somebody changes a role.
	ErrRefused = errors.New("login refused")
	// ErrUnavailable: nobody could decide (unreachable, sealed, overloaded,
	// TLS). Trying again later may mend it.
	ErrUnavailable = errors.New("login not possible now")
)
