// Package aws proves to Vault that this machine is a certain EC2 instance.
//
// The proof is a request that only the instance's role can have signed: STS
// GetCallerIdentity, which asks "who am I?". The host signs it and never sends
// it; Vault sends it to STS and believes STS's answer. The server ID, a header
// under the signature, keeps a proof made for one Vault from being used at
// another.
//
// The keys to sign with come from the instance metadata service (IMDSv2) and
// from nowhere else: keys in the environment or in files would be static
// credentials, which no host needs to hold.
package aws

import (
	"context"
	"os"
	"time"

	"github.com/quaymaster/quaymaster/auth"
)

// attestTimeout bounds the few requests to the metadata service that one
// attestation takes; each alone is bounded by imds.RequestTimeout.
const attestTimeout = 5 * time.Second

// Options of an Attestor. The zero value suits a Vault whose aws auth method
// was not told another STS endpoint.
type Options struct {
	// STSRegion is the region whose STS Vault asks: its sts_endpoint and
	// sts_region. Empty or us-east-1: the global https://sts.amazonaws.com/.
	// AWS_ENDPOINT_URL_STS replaces the address, not the region.
	STSRegion string
	Now       func() time.Time // nil: time.Now
}

// Attestor makes evidence for Vault's aws auth method, type iam. It keeps
// nothing between attestations.
type Attestor struct {
	endpoint, region string
	now              func() time.Time
}

// New checks options. It makes no request.
func New(o Options) (*Attestor, error) {
	a := &Attestor{region: o.STSRegion, now: o.Now}
	if a.region == "" {
		a.region = globalRegion
	}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	a.endpoint, err = stsEndpoint(a.region, os.Getenv("AWS_ENDPOINT_URL_STS"))
	return a, err
}

// Attest implements auth.Attestor: it signs a request as the instance's role.
// audience is what Vault's iam_server_id_header_value says, or empty.
func (a *Attestor) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	host, err := a.identify(limited)
	if err != nil {
		return auth.Evidence{}, err
	}
	login, err := a.signedLogin(limited, host.keys, audience)
	if err != nil {
		return auth.Evidence{}, err
	}
	return auth.Evidence{Method: "aws", Principal: host.principal(), Login: login}, nil
}
