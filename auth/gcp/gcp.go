// Package gcp proves to Vault that this machine is a certain Compute Engine
// instance, or runs as a certain service account.
//
// The proof is a JWT that Google signs for whoever asks from this machine, and
// that Vault checks with Google's public keys:
//
//	GCE  an identity token of the metadata server: Google's word on the
//	     instance, its zone, its project and its service account
//	IAM  claims of our own that IAM signs (signJwt) in the name of the service
//	     account: Google's word on the account only
//
// The audience keeps a proof made for one role of Vault from being used for
// another one. To Google's own APIs, the machine proves itself by AccessTokens:
// those of its service account, or of another one that this may act as.
//
// Times are Google's, as the metadata server's answers tell them, and not this
// host's, whose clock may be wrong: that changes no login, and Evidence.Remark
// says it.
//
// Access tokens come from the metadata server and from nowhere else: key files
// in the environment would be static credentials, which no host needs to hold.
package gcp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// Type is what a role of Vault's gcp auth method is for.
type Type string

// The types, in Vault's words.
const (
	GCE Type = "gce"
	IAM Type = "iam"
)

// attestTimeout bounds the few requests to the metadata server that one
// attestation takes; each alone is bounded by imds.RequestTimeout.
const attestTimeout = 5 * time.Second

// Options of an Attestor. Only Role is needed.
type Options struct {
	Type Type   // empty: GCE
	Role string // of Vault's auth method
	// IAMCredentials is the base URL of the IAM Credentials API, for networks
	// that reach Google through an endpoint of their own. Empty: Google's.
	IAMCredentials string
	Now            func() time.Time // nil: time.Now
}

// Attestor makes evidence for Vault's gcp auth method. It keeps nothing between
// attestations.
type Attestor struct {
	kind Type
	role string
	iam  iam
	now  func() time.Time
}

// New checks options. It makes no request.
func New(o Options) (*Attestor, error) {
	a := &Attestor{kind: o.Type, role: o.Role, now: o.Now}
	if a.kind == "" {
		a.kind = GCE
	}
	if a.now == nil {
		a.now = time.Now
	}
	switch {
	case a.kind != GCE && a.kind != IAM:
		return nil, fmt.Errorf("the login type %q: write %s or %s, as the role in Vault has it", a.kind, GCE, IAM)
	case a.role == "":
		return nil, errors.New("a login with a Google identity needs the role's name, which is part of the evidence")
	}
	var err error
	a.iam, err = newIAM(o.IAMCredentials)
	return a, err
}

// Attest implements auth.Attestor. Vault takes any audience that ends in
// vault/ROLE; an empty one is vault/ROLE.
func (a *Attestor) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	if audience == "" {
		audience = "vault/" + a.role
	}
	prove := a.identityToken
	if a.kind == IAM {
		prove = a.signedClaims
	}
	host, jwt, err := prove(ctx, audience)
	if err != nil {
		return auth.Evidence{}, err
	}
	return auth.Evidence{Method: "gcp", Principal: host.principal(), Login: map[string]secret.Value{"jwt": jwt}, Remark: host.clock.String()}, nil
}

// identity is what the metadata server says of this machine.
type identity struct {
	account, instance, zone, project string
	clock                            imds.Clock
}

// principal is a line for people.
func (i identity) principal() string {
	return fmt.Sprintf("%s on %s (%s) of %s", i.account, i.instance, i.zone, i.project)
}
