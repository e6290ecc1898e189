package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	sdkimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// untold is why an instance's tags cannot be seen, which is how EC2 has it
// unless somebody said otherwise ("Access to instance tags in instance
// metadata" in the EC2 User Guide).
const untold = "no instance tags are to be seen in the metadata: there are none, or they are not allowed there " +
	"(aws ec2 modify-instance-metadata-options --instance-metadata-tags enabled)"

// ReadInstance reads the tags whose names begin with prefix, and the user data.
// Errors wrap auth.ErrNoIdentity when there is no such service, and
// auth.ErrUnavailable when it may answer later.
func ReadInstance(ctx context.Context, prefix string) (auth.Instance, error) {
	m, err := newMetadata(time.Now)
	if err != nil {
		return auth.Instance{}, err
	}
	m.last.client = imds.NewLargeClient()
	id, _, err := m.readIfThere(ctx, "meta-data/instance-id")
	if err != nil {
		return auth.Instance{}, err
	}
	found := auth.Instance{Cloud: "aws", ID: strings.TrimSpace(string(id)), Attribute: "tag", Attributes: map[string]string{}}
	if err := m.readTags(ctx, &found, prefix); err != nil {
		return auth.Instance{}, err
	}
	data, _, err := m.readIfThere(ctx, "user-data")
	if err != nil {
		return auth.Instance{}, err
	}
	found.UserData = secret.NewValue(data)
	return found, nil
}

func (m *metadata) readTags(ctx context.Context, into *auth.Instance, prefix string) error {
	const directory = "meta-data/tags/instance/"
	names, told, err := m.readIfThere(ctx, directory)
	if err != nil {
		return err
	}
	if !told {
		into.Untold = untold
	}
	for name := range strings.FieldsSeq(string(names)) { // a name with a blank in it is none of ours
		if !strings.HasPrefix(strings.ToLower(name), prefix) || len(into.Attributes) == auth.MaxAttributes {
			continue
		}
		value, there, err := m.readIfThere(ctx, directory+name)
		if err != nil {
			return err
		}
		if there {
			into.Attributes[name] = string(value)
		}
	}
	return nil
}

// readIfThere reads what lies at a path; what does not exist is empty.
func (m *metadata) readIfThere(ctx context.Context, path string) (content []byte, there bool, err error) {
	var body io.ReadCloser
	if name, isMetadata := strings.CutPrefix(path, "meta-data/"); isMetadata {
		answer, getErr := m.client.GetMetadata(ctx, &sdkimds.GetMetadataInput{Path: name})
		if err = getErr; err == nil {
			body = answer.Content
		}
	} else {
		answer, getErr := m.client.GetUserData(ctx, nil)
		if err = getErr; err == nil {
			body = answer.Content
		}
	}
	if err != nil && m.last.status == http.StatusNotFound && !m.last.forToken() {
		return nil, false, nil
	}
	if err == nil {
		content, err = io.ReadAll(body)
		err = errors.Join(err, body.Close())
	}
	if err != nil {
		return nil, false, m.explain(ctx, fmt.Sprintf("reading %s", path), err)
	}
	return content, true, nil
}
