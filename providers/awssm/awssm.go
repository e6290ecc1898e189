// Package awssm reads secrets from AWS Secrets Manager and from the Parameter
// Store of AWS Systems Manager.
//
// A ref's path is the name of a secret, or its ARN, whole or without the six
// characters at its end; behind ssm/ it is the name of a parameter:
//
//	aws:prod/shop/db#password@AWSPREVIOUS              the secret prod/shop/db
//	aws:arn:aws:secretsmanager:eu-west-1:…:secret:x    of another account or region
//	aws:ssm/prod/shop/db                               the parameter /prod/shop/db
//	aws:ssm/db-password@3                              the parameter db-password
//	aws:ssm/prod/shop/*                                all parameters directly below /prod/shop
//	aws:ssm/prod/shop/*?recursive=true                 all below it
//	aws:ssm/arn:aws:ssm:eu-west-1:…:parameter/x        of another account or region
//
// A parameter's name begins with a slash exactly when there are others in it,
// as AWS wants it. A name with slashes where a path has none is given by the
// parameter name: aws:ssm/db?name=/db, aws:prod/db?name=/prod//db. A secret
// whose name begins with ssm/ is named by its ARN.
//
// A secret that is a JSON object has the object's members as fields: strings
// as they are, anything else as its JSON text. All else, and each parameter,
// is one field, "value". The version of a secret is a staging label or the ID
// of a version; that of a parameter a label or a number.
package awssm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
)

// Options say whose secrets a Provider reads, and where.
type Options struct {
	// Credentials are the host's own.
	Credentials aws.CredentialsProvider
	Region      string // eu-west-1
	// AssumeRole is the ARN of a role to read as, instead of the host's own;
	// empty: none. ExternalID is what its trust policy may ask for, and
	// SessionName what AWS's audit log shows; empty: "quaymaster".
	AssumeRole, ExternalID, SessionName string
	// Replicas are the regions to ask, in order, when Secrets Manager does not
	// answer in Region. Parameter Store has no replicas.
	Replicas []string
	Now      func() time.Time // nil: time.Now
}

// Provider reads from one region of AWS, or from the one that an ARN names. It
// implements providers.Provider, Batcher and Versioner.
type Provider struct {
	region   string
	replicas []string
	now      func() time.Time
	config   aws.Config              // of every region; the region itself is left to clients
	keys     []*aws.CredentialsCache // the host's, and those of an assumed role
	http     *http.Client

	mu      sync.Mutex
	regions map[string]*clients
	noBatch time.Time // until then BatchGetSecretValue is not tried, because it is not allowed
}

var (
	regionName = regexp.MustCompile(`^[a-z]{2,8}(-[a-z0-9]+)+$`) // becomes part of a host name
	roleARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
)

// New returns a provider. It makes no request. It honours the SDK's own
// variables for endpoints (AWS_ENDPOINT_URL_SECRETS_MANAGER, …_SSM, …_STS),
// FIPS, dual stack, a proxy, and authorities (AWS_CA_BUNDLE).
func New(o Options) (*Provider, error) {
	if o.Credentials == nil {
		return nil, errors.New("reading secrets from AWS needs the host's AWS identity")
	}
	for _, region := range append([]string{o.Region}, o.Replicas...) {
		if !regionName.MatchString(region) {
			return nil, fmt.Errorf("AWS region %q: write it as in eu-west-1", region)
		}
	}
	if o.AssumeRole != "" && !roleARN.MatchString(o.AssumeRole) {
		return nil, fmt.Errorf("role to assume %q: write its ARN, as in arn:aws:iam::123456789012:role/secrets", o.AssumeRole)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Provider{region: o.Region, replicas: o.Replicas, now: o.Now, regions: map[string]*clients{}}
	return p, p.connect(o)
}

// Close ends the connections that are kept between requests.
func (p *Provider) Close() { p.http.CloseIdleConnections() }

// Fetch implements providers.Provider.
func (p *Provider) Fetch(ctx context.Context, ref secret.Ref) (secret.Secret, error) {
	t, err := parse(ref)
	if err != nil {
		return secret.Secret{}, err
	}
	return p.read(ctx, t)
}

func (p *Provider) read(ctx context.Context, t target) (secret.Secret, error) {
	switch {
	case t.store == secretsManager:
		return p.readSecret(ctx, t)
	case t.below:
		return p.readBelow(ctx, t)
	}
	return p.readParameter(ctx, t)
}

// CurrentVersion implements providers.Versioner: the version that Fetch would
// read. For Secrets Manager it needs the permission secretsmanager:DescribeSecret,
// which reading does not; without it the error is ErrDenied.
func (p *Provider) CurrentVersion(ctx context.Context, ref secret.Ref) (string, error) {
	t, err := parse(ref)
	switch {
	case err != nil:
		return "", err
	case t.store == secretsManager:
		return p.secretVersion(ctx, t)
	case t.below:
		version, _, err := p.listBelow(ctx, t, false)
		return version, err
	}
	return p.parameterVersion(ctx, t)
}

var (
	_ providers.Batcher   = (*Provider)(nil)
	_ providers.Versioner = (*Provider)(nil)
)
