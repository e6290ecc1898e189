package azure

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// computePath asks for the machine itself, tags and user data among it.
const computePath = "/metadata/instance/compute?api-version=2021-02-01"

// ReadInstance reads the machine's tags whose names begin with prefix, and its
// user data, which is not the custom data that an agent of Azure's leaves on
// its disk. Errors wrap auth.ErrNoIdentity when there is no such service, and
// auth.ErrUnavailable when it may answer later.
func ReadInstance(ctx context.Context, o Options, prefix string) (auth.Instance, error) {
	a, err := New(o)
	if err != nil {
		return auth.Instance{}, err
	}
	m := a.newMetadata()
	m.client = imds.NewLargeClient()
	var said struct {
		Name     string
		TagsList []struct{ Name, Value string }
		UserData string
	}
	if err := m.ask(ctx, "reading tags and user data", computePath, &said); err != nil {
		return auth.Instance{}, err
	}
	found := auth.Instance{Cloud: "azure", ID: said.Name, Attribute: "tag", Attributes: map[string]string{}}
	for _, tag := range said.TagsList {
		if strings.HasPrefix(strings.ToLower(tag.Name), prefix) && len(found.Attributes) < auth.MaxAttributes {
			found.Attributes[tag.Name] = tag.Value
		}
	}
	data, err := base64.StdEncoding.DecodeString(said.UserData)
	if err != nil {
		return auth.Instance{}, fmt.Errorf("the user data of %s is not base64, as Azure gives it: %w", found.ID, err)
	}
	found.UserData = secret.NewValue(data)
	return found, nil
}
