package gcp

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// ReadInstance reads the instance's attributes whose names begin with prefix,
// and the attribute user-data, which cloud-init reads. Those of the project are
// left alone: they are for all its machines. Errors wrap auth.ErrNoIdentity
// when there is no such server, and auth.ErrUnavailable when it may answer
// later.
func ReadInstance(ctx context.Context, prefix string) (auth.Instance, error) {
	m := newMetadataOf(imds.NewLargeClient(), time.Now)
	name, err := m.get(ctx, "instance/name")
	if err != nil {
		return auth.Instance{}, err
	}
	found := auth.Instance{Cloud: "gcp", ID: name, Attribute: "metadata attribute", Attributes: map[string]string{}}
	names, err := m.get(ctx, "instance/attributes/")
	if err != nil {
		return auth.Instance{}, err
	}
	var data, encoding string
	for name := range strings.FieldsSeq(names) { // a name has no blank in it
		var value string
		if name == "user-data" || name == "user-data-encoding" || strings.HasPrefix(name, prefix) {
			if value, err = m.get(ctx, "instance/attributes/"+name); err != nil {
				return auth.Instance{}, err
			}
		}
		switch {
		case name == "user-data":
			data = value
		case name == "user-data-encoding":
			encoding = value
		case strings.HasPrefix(name, prefix) && len(found.Attributes) < auth.MaxAttributes:
			found.Attributes[name] = value
		}
	}
	decoded := []byte(data)
	if encoding == "base64" { // as cloud-init's data source has it
		if decoded, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(data), "")); err != nil {
			return auth.Instance{}, fmt.Errorf("the attribute user-data of %s is not base64, as its user-data-encoding says: %w", found.ID, err)
		}
	}
	found.UserData = secret.NewValue(decoded)
	return found, nil
}
