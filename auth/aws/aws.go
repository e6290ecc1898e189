// Package aws proves to Vault that this machine is a certain one of AWS's.
//
// There are two proofs. With type iam it is a request that only the machine's
// role can have signed: STS GetCallerIdentity, which asks "who am I?". The host
// signs it and never sends it; Vault sends it to STS and believes STS's answer.
// The server ID, a header under the signature, keeps a proof made for one Vault
// from being used at another.
//
// With type ec2 it is the instance identity document with AWS's own signature,
// which every process on the machine can read and which does not change; so a
// nonce goes with it, which the host makes up once and Vault remembers. This
// type is weaker and harder to keep (see Options.NonceFile), and there for
// instances without a role.
//
// The keys to sign with are those of the role of the ECS task, where the
// container variables of ECS are set, or else those of the instance profile, by
// IMDSv2. There is no other source: keys in the environment or in files would
// be static credentials, which no host needs to hold.
package aws

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/quaymaster/quaymaster/auth"
)

// attestTimeout bounds the few requests to the metadata service that one
// attestation takes; each alone is bounded by imds.RequestTimeout.
const attestTimeout = 5 * time.Second

// Type is one of the two types of Vault's aws auth method.
type Type string

// The types.
const (
	IAM Type = "iam"
	EC2 Type = "ec2"
)

// Options of an Attestor. The zero value is type iam for a Vault whose aws
// auth method was not told another STS endpoint.
type Options struct {
	Type Type // empty: iam

	// STSRegion is the region whose STS Vault asks: its sts_endpoint and
	// sts_region. Empty or us-east-1: the global https://sts.amazonaws.com/,
	// or the host's own region in a partition without a global one (China,
	// GovCloud). AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT choose
	// another address of the region, of which Vault must be told too.
	STSRegion string
	// STSEndpoint is the address that Vault asks, where it is not the region's
	// own, as a VPC endpoint's is not. Empty: AWS_ENDPOINT_URL_STS, if set. A
	// region in its name is taken for STSRegion, if that is empty.
	STSEndpoint string

	// NonceFile keeps the nonce of type ec2 over restarts of the agent, which
	// Vault would refuse with another one. The file is made when it is absent,
	// with mode 0600. On the agent's memory filesystem it is gone after a
	// reboot, and Vault refuses the instance until an operator deletes its
	// entry in auth/<mount>/identity-accesslist; on a disk it outlives that.
	// Each Vault needs a file of its own: whoever knows the nonce can log in as
	// this host. Empty: the nonce lives as long as the Attestor.
	NonceFile string

	Now func() time.Time // nil: time.Now
}

// Attestor makes evidence for Vault's aws auth method. With type iam it keeps
// nothing between attestations, with type ec2 the nonce.
type Attestor struct {
	kind  Type
	sts   target
	fixed bool // sts is what somebody chose, not a default
	nonce *nonce
	now   func() time.Time
}

// New checks options and the SDK's variables. It makes no request. An error
// names the setting, as the configuration file spells it, or the variable.
func New(o Options) (*Attestor, error) {
	a := &Attestor{kind: o.Type, now: o.Now}
	if a.kind == "" {
		a.kind = IAM
	}
	if a.now == nil {
		a.now = time.Now
	}
	switch a.kind {
	case EC2:
		a.nonce = &nonce{file: o.NonceFile}
		return a, nil
	case IAM:
		var err error
		a.sts, err = chosenTarget(o, os.Getenv)
		a.fixed = o.STSRegion != "" || a.sts.given
		return a, err
	}
	return nil, fmt.Errorf("aws.login %q: write iam or ec2", o.Type)
}

// Attest implements auth.Attestor. With type iam it signs a request as the
// machine's role, and audience is what Vault's iam_server_id_header_value
// says, or empty. Type ec2 has no place for an audience.
func (a *Attestor) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	if a.kind == EC2 {
		return a.document(limited)
	}
	return a.signedRequest(limited, audience)
}

// signedRequest is the evidence of type iam.
func (a *Attestor) signedRequest(ctx context.Context, audience string) (auth.Evidence, error) {
	host, err := identify(ctx, a.now)
	if err != nil {
		return auth.Evidence{}, err
	}
	to := a.sts
	if !a.fixed && partition(host.region) != partition(globalRegion) {
		if to, err = regionalTarget(host.region, os.Getenv); err != nil {
			return auth.Evidence{}, fmt.Errorf("%w: %w", err, auth.ErrNoIdentity)
		}
	}
	login, err := signedLogin(ctx, to, host.keys, audience, host.clock.Correct(a.now()))
	if err != nil {
		return auth.Evidence{}, err
	}
	remark := "signed for " + to.url
	if wrong := host.clock.String(); wrong != "" {
		remark += "; " + wrong
	}
	return auth.Evidence{Method: "aws", Principal: host.who, Login: login, Remark: remark}, nil
}
