package aws

import (
	"context"
	"fmt"
	"os"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// identity is who this machine is, and the keys of its role.
type identity struct {
	who    string          // for people
	region string          // of the instance; of a task only where its partition has no global STS
	keys   sdk.Credentials // Expires is in AWS's time
	clock  imds.Clock
}

// identify finds the machine's role: the task's, where ECS set its variables,
// or else the instance's. Where they are set, they are what counts: falling
// back on the instance's role would be another identity.
func identify(ctx context.Context, now func() time.Time) (identity, error) {
	endpoint, err := containerEndpoint(os.Getenv)
	if err != nil {
		return identity{}, err
	}
	var found identity
	if endpoint != nil {
		found, err = taskIdentity(ctx, endpoint, now)
	} else {
		found, err = instanceIdentity(ctx, now)
	}
	if err != nil {
		return identity{}, err
	}
	if ends := found.keys.Expires; found.keys.CanExpire && found.clock.Left(ends, now()) <= 0 {
		return identity{}, fmt.Errorf("%s was given keys of its role that ended at %s: AWS has not renewed them yet%s: %w",
			found.who, ends.UTC().Format(time.RFC3339), found.clock.Doubt(), auth.ErrUnavailable)
	}
	return found, nil
}

// instanceIdentity asks the metadata service who this machine is, and for the
// keys of its role.
func instanceIdentity(ctx context.Context, now func() time.Time) (identity, error) {
	service, err := newMetadata(now)
	if err != nil {
		return identity{}, err
	}
	document, err := service.client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return identity{}, service.explain(ctx, "reading the instance identity document", err)
	}
	role, keys, err := service.role(ctx)
	if err != nil {
		return identity{}, err
	}
	return identity{
		// A role's path is left out: the metadata service does not know it.
		who: fmt.Sprintf("arn:%s:iam::%s:role/%s on %s (%s)",
			partition(document.Region), document.AccountID, role, document.InstanceID, document.Region),
		region: document.Region, keys: keys, clock: service.last.clock,
	}, nil
}

// taskIdentity asks the ECS agent for the keys of the task's role. That agent
// runs on the same clock as this one; so the time comes from the instance's
// metadata service, where it can be reached, and meanwhile.
func taskIdentity(ctx context.Context, from *keyEndpoint, now func() time.Time) (identity, error) {
	measured := make(chan imds.Clock, 1)
	go func() { measured <- measureClock(ctx, now) }()
	keys, role, err := from.keys(ctx)
	found := identity{who: role.describe(), keys: keys, clock: <-measured}
	if err != nil {
		return identity{}, err
	}
	if role.partition() != partition(globalRegion) {
		if found.region, err = HostRegion(ctx); err != nil {
			return identity{}, fmt.Errorf("finding the region whose STS Vault asks, in partition %s: %w", role.partition(), err)
		}
	}
	return found, nil
}

// measureClock asks the metadata service for nothing but its time, if it is
// there to tell it: every answer does, even a refusal.
func measureClock(ctx context.Context, now func() time.Time) imds.Clock {
	service, err := newMetadata(now)
	if err != nil {
		return imds.Clock{}
	}
	service.read(ctx, "placement/region") // whatever comes
	return service.last.clock
}
