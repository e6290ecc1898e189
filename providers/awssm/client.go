package awssm

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/quaymaster/quaymaster/auth/awsclient"
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
	var err error
	p.config, p.http, err = awsclient.New(awsclient.Options{Dial: dialTimeout, Request: requestTimeout, MaxAnswer: maxAnswer})
	if err != nil {
		return err
	}
	p.keys = []*aws.CredentialsCache{aws.NewCredentialsCache(hostKeys{o.Credentials})}
	p.config.Credentials = p.keys[0]
	if o.AssumeRole == "" {
		return nil
	}
	cache := assume(o, p.config.Copy())
	p.keys, p.config.Credentials = append(p.keys, cache), cache
	return nil
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
