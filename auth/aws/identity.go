package aws

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"

	"github.com/quaymaster/quaymaster/auth"
)

// identity is what the metadata service says of this machine.
type identity struct {
	account, instance, region, role string
	keys                            sdk.Credentials
}

// principal is a line for people. A role's path is left out: the metadata
// service does not know it.
func (i identity) principal() string {
	return fmt.Sprintf("arn:%s:iam::%s:role/%s on %s (%s)", partition(i.region), i.account, i.role, i.instance, i.region)
}

// partition follows the names of regions, as AWS documents them under "Amazon
// Resource Names". Only people read the result.
func partition(region string) string {
	for _, p := range [][2]string{{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"}, {"eusc-", "aws-eusc"}} {
		if strings.HasPrefix(region, p[0]) {
			return p[1]
		}
	}
	return "aws"
}

// identify asks the metadata service who this machine is, and for the keys of
// its role.
func (a *Attestor) identify(ctx context.Context) (identity, error) {
	service, err := newMetadata()
	if err != nil {
		return identity{}, err
	}
	document, err := service.client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return identity{}, service.explain(ctx, "reading the instance identity document", err)
	}
	found := identity{account: document.AccountID, instance: document.InstanceID, region: document.Region}
	if found.role, err = service.roleName(ctx); err != nil {
		return identity{}, err
	}
	if found.keys, err = service.roleKeys(ctx, found.role); err != nil {
		return identity{}, err
	}
	if !a.now().Before(found.keys.Expires) {
		return identity{}, fmt.Errorf("the metadata service hands out keys of role %s that ended at %s: AWS has not renewed them yet, "+
			"or this machine's clock is wrong: %w", found.role, found.keys.Expires.UTC().Format(time.RFC3339), auth.ErrUnavailable)
	}
	return found, nil
}

// roleName is the role of the instance profile, of which there is one at most.
func (m *metadata) roleName(ctx context.Context) (string, error) {
	list, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: "iam/security-credentials/"})
	if err != nil && m.last.status == http.StatusNotFound {
		return "", noRole()
	}
	if err != nil {
		return "", m.explain(ctx, "reading the name of the instance's role", err)
	}
	defer list.Content.Close()
	lines := bufio.NewScanner(list.Content)
	if !lines.Scan() || lines.Text() == "" {
		return "", noRole()
	}
	return lines.Text(), nil
}

// roleKeys gets the role's keys. EC2 answers 200 even when it has none, with a
// code that says why.
func (m *metadata) roleKeys(ctx context.Context, role string) (sdk.Credentials, error) {
	keys, err := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = m.client }).Retrieve(ctx)
	if err == nil {
		return keys, nil
	}
	if refusal, ok := errors.AsType[*smithy.GenericAPIError](err); ok {
		return sdk.Credentials{}, fmt.Errorf("EC2 has no keys for role %s (%s): check that the role exists and that its trust policy "+
			"lets ec2.amazonaws.com assume it: %w", role, refusal.Code, auth.ErrNoIdentity)
	}
	if m.last.status == http.StatusNotFound {
		return sdk.Credentials{}, noRole()
	}
	return sdk.Credentials{}, m.explain(ctx, "reading the keys of role "+role, err)
}

func noRole() error {
	return fmt.Errorf("this EC2 instance has no IAM role: attach an instance profile to it "+
		"(aws ec2 associate-iam-instance-profile): %w", auth.ErrNoIdentity)
}
