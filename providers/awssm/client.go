package awssm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

const (
	dialTimeout = 2 * time.Second
	// requestTimeout is for one request, from dialling to the last byte: short
	// enough that a gate that waits 30 seconds sees a replica's answer.
	requestTimeout = 5 * time.Second
	// maxAnswer is the most bytes of an answer: 20 secrets of 64 KiB, each byte
	// of which may take six in JSON.
	maxAnswer = 8 << 20
)

// clients are the SDK's, for one region.
type clients struct {
	secrets    *secretsmanager.Client
	parameters *ssm.Client
}

// connect makes what all regions share. Nothing is asked of AWS yet.
func (p *Provider) connect(o Options) error {
	environment, err := config.NewEnvConfig()
	if err != nil {
		return fmt.Errorf("the environment's AWS settings: %w", err)
	}
	if p.http, err = newHTTP(environment.CustomCABundle); err != nil {
		return err
	}
	p.keys = []*aws.CredentialsCache{aws.NewCredentialsCache(hostKeys{o.Credentials})}
	p.config = aws.Config{
		HTTPClient: p.http, ConfigSources: []any{environment}, Credentials: p.keys[0],
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }, // whoever fetches repeats
	}
	if o.AssumeRole == "" {
		return nil
	}
	cache := assume(o, p.config.Copy())
	p.keys, p.config.Credentials = append(p.keys, cache), cache
	return nil
}

// newHTTP returns the client for all requests. Unlike a metadata service, the
// stores may be behind a proxy.
func newHTTP(authorities string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
	}
	if authorities != "" {
		pem, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("AWS_CA_BUNDLE: %s holds no PEM certificate", authorities)
		}
	}
	return &http.Client{
		Transport:     bounded{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // AWS's APIs have none
		Timeout:       requestTimeout,
	}, nil
}

// errTooLarge: an answer without an end would fill the agent's memory.
var errTooLarge = errors.New("the answer is larger than 8 MiB")

// bounded bounds the memory that an answer can take.
type bounded struct{ *http.Transport }

// RoundTrip implements http.RoundTripper. The SDK closes the request's body as
// soon as an answer begins; the body's WriteTo then fails, and if net/http was
// only about to see that nothing follows, it cuts the connection in the middle
// of the answer. Read ends as it should, so nothing else is left of the body.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		plain := *request
		plain.Body = struct{ io.ReadCloser }{request.Body}
		request = &plain
	}
	response, err := b.Transport.RoundTrip(request)
	if err == nil {
		response.Body = &boundedBody{response.Body, maxAnswer}
	}
	return response, err
}

// boundedBody fails, where io.LimitReader would end as if all had been read.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// in returns the clients for a region.
func (p *Provider) in(region string) *clients {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.regions[region] == nil {
		forRegion := p.config.Copy()
		forRegion.Region = region
		p.regions[region] = &clients{secretsmanager.NewFromConfig(forRegion), ssm.NewFromConfig(forRegion)}
	}
	return p.regions[region]
}

// forgetKeys makes the next request ask for keys again, because AWS does not
// take those that are held: whether the host's or the assumed role's, it does
// not say.
func (p *Provider) forgetKeys() {
	for _, cache := range p.keys {
		cache.Invalidate()
	}
}

// ask makes one request about t in each of its regions until one answers. A
// refusal is an answer; when none answers, the first region's failure counts,
// because what a replica lacks need not be missing.
func ask[T any](ctx context.Context, p *Provider, t target, action string, request func(c *clients, region string) (T, error)) (T, error) {
	var first *failure
	for i, region := range p.regionsOf(t) {
		answer, err := request(p.in(region), region)
		if err == nil {
			return answer, nil
		}
		q := question{service: t.store.title, region: region, name: t.in(region), action: action}
		failed := p.explain(ctx, q, err)
		if i == 0 {
			first = failed
		}
		if !first.elsewhere || ctx.Err() != nil {
			break
		}
	}
	var none T
	return none, first
}
