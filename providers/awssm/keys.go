package awssm

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/providers"
)

const (
	// roleLifetime is how long the keys of an assumed role live: the longest
	// that AWS gives to who has assumed a role already, as an instance has.
	roleLifetime = time.Hour
	// renewBefore is how long before their end the keys of an assumed role are
	// replaced; while that fails, it is tried again every renewAgain.
	renewBefore = 5 * time.Minute
	renewAgain  = 30 * time.Second
)

// hostKeys says why there are no keys in a way that explain can pass on.
type hostKeys struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (h hostKeys) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := h.CredentialsProvider.Retrieve(ctx)
	if err == nil {
		return keys, nil
	}
	f := &failure{kind: providers.ErrUnavailable, reason: "the host has no AWS keys: " + strings.Join(strings.Fields(err.Error()), " ")}
	if errors.Is(err, auth.ErrNoIdentity) || errors.Is(err, auth.ErrRefused) {
		f.kind = providers.ErrDenied
	}
	return aws.Credentials{}, f
}

// roleKeys are the keys of an assumed role. While STS does not answer, those
// that are held are used to their end. The cache around it calls it from one
// goroutine at a time.
type roleKeys struct {
	role     *stscreds.AssumeRoleProvider
	question question
	now      func() time.Time
	held     aws.Credentials
}

// assume returns a cache of the keys of the role that o names.
func assume(o Options, config aws.Config) *aws.CredentialsCache {
	config.Region = o.Region
	role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(config), o.AssumeRole, func(a *stscreds.AssumeRoleOptions) {
		a.RoleSessionName, a.Duration = "quaymaster", roleLifetime
		if o.SessionName != "" {
			a.RoleSessionName = o.SessionName
		}
		if o.ExternalID != "" {
			a.ExternalID = &o.ExternalID
		}
	})
	about := question{service: "AWS STS", region: o.Region, name: o.AssumeRole, action: "sts:AssumeRole"}
	return aws.NewCredentialsCache(&roleKeys{role: role, question: about, now: o.Now},
		func(c *aws.CredentialsCacheOptions) { c.ExpiryWindow = renewBefore })
}

// Retrieve implements aws.CredentialsProvider.
func (r *roleKeys) Retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := r.role.Retrieve(ctx)
	if err == nil {
		r.held = keys
		return keys, nil
	}
	failed := explain(ctx, r.question, err)
	if left := r.held.Expires.Sub(r.now()); failed.kind == providers.ErrUnavailable && left > 0 {
		kept := r.held
		kept.Expires = r.now().Add(min(left, renewAgain) + renewBefore) // which the cache takes off again
		return kept, nil
	}
	return aws.Credentials{}, failed
}
