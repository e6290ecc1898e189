// Package gcpsm reads secrets from GCP Secret Manager.
//
// A ref's path is a project and a secret, or a project, a location and a secret
// that is kept in that region only; its version is a number or an alias, and
// the latest one where none is named:
//
//	gcp:my-project/db-password@7
//	gcp:my-project/europe-west3/db-password
//
// A payload that is a JSON object has the object's fields; any other one has a
// single field called "value". Every payload comes with a checksum (CRC32C),
// and one that does not match is not handed out.
//
// It is two plain requests of the REST API: Google's client library would be
// a third of the agent.
package gcpsm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/auth/endpoint"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// endpointVariable is read by gcloud, too.
const endpointVariable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"

// Tokens are the access tokens of the service account that reads. It may be
// used by several goroutines.
type Tokens interface {
	// Token returns a token that is believed good. An error wraps one of
	// package auth.
	Token(ctx context.Context) (secret.Value, error)
	// Refused says that the API did not accept a token.
	Refused(token secret.Value)
}

// Options of a Provider. Only Tokens is needed.
type Options struct {
	Tokens Tokens
	// Endpoint is the base URL of the API, for networks that reach Google by one
	// of their own; regional secrets are asked for there, too. Empty: that of
	// CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER, or Google's.
	Endpoint string
	Now      func() time.Time // nil: time.Now
}

// Provider reads as one service account. It implements providers.Provider and
// providers.Versioner.
type Provider struct {
	tokens   Tokens
	endpoint string // empty: Google's
	client   *http.Client
	now      func() time.Time

	mu sync.Mutex
	// unseen are the secrets of which the account may read the payload only, by
	// resource name, and until when that is believed.
	unseen map[string]time.Time
}

// New checks options. It makes no request.
func New(o Options) (*Provider, error) {
	if o.Tokens == nil {
		return nil, errors.New("GCP Secret Manager needs access tokens")
	}
	p := &Provider{tokens: o.Tokens, endpoint: strings.TrimSuffix(cmp.Or(o.Endpoint, os.Getenv(endpointVariable)), "/"), client: newClient(),
		now: o.Now, unseen: map[string]time.Time{}}
	if p.now == nil {
		p.now = time.Now
	}
	return p, checkEndpoint(p.endpoint)
}

// checkEndpoint accepts the URL of a server that tokens may be sent to.
func checkEndpoint(address string) error {
	if address == "" {
		return nil
	}
	if _, err := endpoint.Parse(address); err != nil {
		return fmt.Errorf("the address of GCP Secret Manager (endpoint, or %s): %w", endpointVariable, err)
	}
	return nil
}

// Fetch implements providers.Provider.
func (p *Provider) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	ref = ref.Whole()
	name, err := p.name(ref)
	if err != nil {
		return secret.Secret{}, err
	}
	asked := p.now()
	version, payload, err := p.access(ctx, name)
	if err != nil {
		return secret.Secret{}, err
	}
	return secret.Secret{Ref: ref, Version: version, Fields: providers.Fields(payload), Lease: secret.Lease{IssuedAt: asked}}, nil
}

// unseenFor is how long the payload is read to learn the version, before it is
// tried again without.
const unseenFor = time.Hour

// CurrentVersion implements providers.Versioner. To see a version takes another
// permission than to read it (roles/secretmanager.viewer has it, and
// secretAccessor does not): without that, the version is read and dropped.
func (p *Provider) CurrentVersion(ctx context.Context, ref secret.Ref) (string, error) {
	name, err := p.name(ref.Whole())
	if err != nil {
		return "", err
	}
	if p.sees(name) {
		version, err := p.look(ctx, name)
		if !errors.Is(err, errPermission) {
			return version, err
		}
		p.mu.Lock()
		p.unseen[name.resource] = p.now().Add(unseenFor)
		p.mu.Unlock()
	}
	version, payload, err := p.access(ctx, name)
	clear(payload)
	return version, err
}

func (p *Provider) sees(n name) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.now().Before(p.unseen[n.resource])
}

// CloseIdleConnections ends the connections that are not in use.
func (p *Provider) CloseIdleConnections() { p.client.CloseIdleConnections() }
