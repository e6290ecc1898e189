// Package azure proves that this machine is a certain Azure VM: to Vault, by
// an Attestor, and to Azure's own services, by a Credential.
//
// The proof is a token that Entra ID signed for the machine's managed
// identity. The instance metadata service hands it to whoever asks on the
// machine, so no key lies there. The token names the identity and the machine
// it was issued on; Vault checks the signature, asks Azure Resource Manager
// whether that machine has that identity, and compares subscription, resource
// group and name with what its role allows.
//
// The audience, which Vault calls the resource, keeps a token made for another
// service from being used at Vault, and this one from being used elsewhere.
//
// Azure's own services take the same kind of token, made for them.
//
// When a token ends is judged by Azure's time, as the metadata service's answers
// tell it, and not by this host's clock, which may be wrong: that changes no
// login, and Evidence.Remark says it.
package azure

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

const (
	// attestTimeout bounds the two requests to the metadata service that one
	// attestation takes; each alone is bounded by imds.RequestTimeout.
	attestTimeout = 5 * time.Second
	// linkLocal is where every Azure VM has its metadata service.
	linkLocal = "http://169.254.169.254"
)

// Options of an Attestor or a Credential. The zero value suits a machine with a
// system-assigned identity, or with one user-assigned identity and no other.
type Options struct {
	// ClientID names one of the machine's user-assigned identities.
	ClientID string
	// Endpoint is the base URL of the metadata service; empty: the link-local
	// address. It is for tests: Microsoft's library knows no other address and
	// reads none from the environment, so only the requests that it makes for
	// that address are sent here.
	Endpoint string
	Now      func() time.Time // nil: time.Now
}

// Attestor makes evidence for Vault's azure auth method. It keeps nothing
// between attestations.
type Attestor struct {
	clientID   string
	endpoint   *url.URL
	now        func() time.Time
	audienceIs string // what an audience must be, for people; begins with a colon
}

var uuid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// New checks options. It makes no request.
func New(o Options) (*Attestor, error) {
	a := &Attestor{clientID: o.ClientID, now: o.Now, audienceIs: ": it must be the resource that Vault's azure auth method is configured with"}
	if a.clientID != "" && !uuid.MatchString(a.clientID) {
		return nil, fmt.Errorf("the client ID %q of the managed identity: write it as in 00000000-1111-2222-3333-444444444444 "+
			"(az identity show --query clientId)", a.clientID)
	}
	if o.Endpoint == "" {
		o.Endpoint = linkLocal
	}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	if a.endpoint, err = url.Parse(o.Endpoint); err != nil || a.endpoint.Scheme != "http" || a.endpoint.Host == "" {
		return nil, fmt.Errorf("the metadata service's endpoint %q: write it as http://host", o.Endpoint)
	}
	return a, nil
}

// Attest implements auth.Attestor: it asks for a token of the machine's
// managed identity. audience is what Vault's azure auth method has as its
// resource; empty: Azure Resource Manager of the cloud that the machine is in.
func (a *Attestor) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	limited, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	service := a.newMetadata()
	host, err := service.instance(limited)
	if err != nil {
		return auth.Evidence{}, err
	}
	if audience == "" {
		audience = host.manager()
	}
	identity, err := a.identify(limited, service, audience)
	if err != nil {
		return auth.Evidence{}, err
	}
	login := host.login()
	login["jwt"] = identity.token
	return auth.Evidence{
		Method: "azure", Login: login,
		Principal: fmt.Sprintf("managed identity %s on %s", identity.principalID, host), Remark: service.clock.String(),
	}, nil
}

// text is what is no secret but goes where secrets go.
func text(s string) secret.Value { return secret.NewValue([]byte(s)) }
