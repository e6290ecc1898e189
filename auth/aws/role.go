package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	sdkimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/quaymaster/quaymaster/auth"
)

const rolePath = "iam/security-credentials/"

// role is the name and the keys of the role of the instance profile, of which
// there is one at most. A profile that is replaced between the two questions is
// asked about again.
func (m *metadata) role(ctx context.Context) (name string, keys sdk.Credentials, err error) {
	for range 2 {
		if name, err = m.roleName(ctx); err != nil {
			return "", sdk.Credentials{}, err
		}
		if keys, err = m.roleKeys(ctx, name); err == nil || m.last.status != http.StatusNotFound {
			return name, keys, err
		}
	}
	return "", sdk.Credentials{}, err
}

func (m *metadata) roleName(ctx context.Context) (string, error) {
	list, err := m.read(ctx, rolePath)
	if err != nil && m.last.status == http.StatusNotFound {
		return "", noRole()
	}
	if err != nil {
		return "", m.explain(ctx, "reading the name of the instance's role", err)
	}
	name, _, _ := strings.Cut(string(list), "\n")
	if name == "" {
		return "", noRole()
	}
	return name, nil
}

// roleKeys gets the role's keys. EC2 answers 200 even when it has none, with a
// code that says why. The SDK's own reader of this document (ec2rolecreds)
// shortens the keys' life to an hour on this host's clock, which may be wrong.
func (m *metadata) roleKeys(ctx context.Context, role string) (sdk.Credentials, error) {
	doing := "reading the keys of role " + role
	content, err := m.read(ctx, rolePath+role)
	if err != nil && m.last.status == http.StatusNotFound {
		return sdk.Credentials{}, noRole()
	}
	if err != nil {
		return sdk.Credentials{}, m.explain(ctx, doing, err)
	}
	var found struct {
		Code, AccessKeyID, SecretAccessKey, Token string
		Expiration                                time.Time
	}
	if err := json.Unmarshal(content, &found); err != nil {
		return sdk.Credentials{}, m.explain(ctx, doing, fmt.Errorf("not the JSON text of keys")) // whose own error could quote them
	}
	if found.Code != "Success" {
		return sdk.Credentials{}, fmt.Errorf("EC2 has no keys for role %s (%.60q): check that the role exists and that its trust policy "+
			"lets ec2.amazonaws.com assume it: %w", role, found.Code, auth.ErrNoIdentity)
	}
	return sdk.Credentials{
		AccessKeyID: found.AccessKeyID, SecretAccessKey: found.SecretAccessKey, SessionToken: found.Token,
		CanExpire: true, Expires: found.Expiration, Source: "EC2 instance profile",
	}, nil
}

// read gets a whole document below meta-data.
func (m *metadata) read(ctx context.Context, path string) ([]byte, error) {
	answer, err := m.client.GetMetadata(ctx, &sdkimds.GetMetadataInput{Path: path})
	if err != nil {
		return nil, err
	}
	defer answer.Content.Close()
	return io.ReadAll(answer.Content)
}

func noRole() error {
	return fmt.Errorf("this EC2 instance has no IAM role: attach an instance profile to it "+
		"(aws ec2 associate-iam-instance-profile): %w", auth.ErrNoIdentity)
}
