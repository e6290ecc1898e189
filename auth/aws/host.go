package aws

import (
	"context"
	"os"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
)

// HostCredentials are the keys of the machine's own role, from the same sources
// as evidence is signed with and from no other, for AWS's other services. They
// are held and renewed by the SDK's cache: in the hour before they end, or each
// hour, so that keys that AWS took back are not used for long. An error says
// which variable of the environment is wrong; no request is made.
func HostCredentials() (*sdk.CredentialsCache, error) {
	if _, err := containerEndpoint(os.Getenv); err != nil {
		return nil, err
	}
	return sdk.NewCredentialsCache(hostKeys{}, func(o *sdk.CredentialsCacheOptions) {
		o.ExpiryWindow, o.ExpiryWindowJitterFrac = expiryWindow, 0.5 // as the SDK sets them for these sources
	}), nil
}

const (
	expiryWindow = 5 * time.Minute
	maxHeld      = time.Hour
)

// hostKeys implements sdk.CredentialsProvider and its power to go on with what
// is held when the metadata service fails.
type hostKeys struct{}

// Retrieve asks for the keys. Their end is given on this host's clock, by which
// the cache works.
func (hostKeys) Retrieve(ctx context.Context) (sdk.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	found, err := identify(ctx, time.Now)
	if err != nil {
		return sdk.Credentials{}, err
	}
	keys, now := found.keys, time.Now()
	if keys.CanExpire {
		keys.Expires = now.Add(min(found.clock.Left(keys.Expires, now), maxHeld))
	}
	return keys, nil
}

// HandleFailToRefresh goes on with the keys held, as the SDK does on EC2: they
// may well live longer than they are held, and AWS itself says when they do not.
func (hostKeys) HandleFailToRefresh(ctx context.Context, held sdk.Credentials, failed error) (sdk.Credentials, error) {
	return ec2rolecreds.New().HandleFailToRefresh(ctx, held, failed)
}
