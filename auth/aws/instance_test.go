package aws_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

const prefix = "quaymaster-"

func TestReadInstance(t *testing.T) {
	w := newWorld(t)
	found, err := aws.ReadInstance(t.Context(), prefix)
	if err != nil || found.ID != "i-0123456789abcdef0" || found.Cloud != "aws" || len(found.Attributes) != 0 || found.Untold == "" || found.UserData.Len() != 0 {
		t.Errorf("without anything: %+v, %v", found, err)
	}
	w.imds.SetUserData("#cloud-config\x00\n")
	w.imds.SetTags(map[string]string{"Name": "docker", "quaymaster-vault-role": "docker host", "Quaymaster-vault-address": "https://vault"})
	found, err = aws.ReadInstance(t.Context(), prefix)
	want := map[string]string{"quaymaster-vault-role": "docker host", "Quaymaster-vault-address": "https://vault"}
	if err != nil || !maps.Equal(found.Attributes, want) || found.Untold != "" || string(found.UserData.Reveal()) != "#cloud-config\x00\n" { // to compare
		t.Errorf("%+v, %v", found, err)
	}
}

func TestReadInstanceWithoutAService(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		prefix string
		fault  cloudsim.Fault
		want   error
	}{
		"turned off":   {"", awssim.TurnedOff, auth.ErrNoIdentity},
		"throttled":    {"", awssim.Throttled, auth.ErrUnavailable},
		"silent":       {"", cloudsim.Fault{Delay: time.Hour}, auth.ErrUnavailable},
		"tags fail":    {"/latest/meta-data/tags", cloudsim.Fault{Status: 500}, auth.ErrUnavailable},
		"no user-data": {"/latest/user-data", cloudsim.Fault{Status: 503}, auth.ErrUnavailable},
	} {
		w.imds.Set(c.prefix, c.fault)
		if _, err := aws.ReadInstance(t.Context(), prefix); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		w.imds.Clear(c.prefix)
	}
}
