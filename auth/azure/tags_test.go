package azure_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

func TestReadInstance(t *testing.T) {
	m := web1
	m.Tags = map[string]string{"team": "shop", "Quaymaster-vault-address": "https://vault;x", "quaymaster-vault-role": "docker-host"}
	m.UserData = strings.Repeat("#", 64<<10) // as much as Azure takes
	service := newTenant(t).AddMachine(m)
	o := azure.Options{Endpoint: serve(t, service, cloudsim.Options{})}
	found, err := azure.ReadInstance(t.Context(), o, "quaymaster-")
	want := map[string]string{"Quaymaster-vault-address": "https://vault;x", "quaymaster-vault-role": "docker-host"}
	if err != nil || found.Cloud != "azure" || found.ID != "web-1" || !maps.Equal(found.Attributes, want) || string(found.UserData.Reveal()) != m.UserData { // to compare
		t.Errorf("%+v, %v", found, err)
	}
	service.SetTags(nil)
	service.SetUserData("")
	if found, err = azure.ReadInstance(t.Context(), o, "quaymaster-"); err != nil || len(found.Attributes) != 0 || found.UserData.Len() != 0 {
		t.Errorf("without anything: %+v, %v", found, err)
	}
	for name, c := range map[string]struct {
		fault cloudsim.Fault
		want  error
	}{
		"throttled": {azuresim.Throttled, auth.ErrUnavailable},
		"foreign":   {azuresim.Foreign, auth.ErrNoIdentity},
		"silent":    {cloudsim.Fault{Delay: time.Hour}, auth.ErrUnavailable},
		"nonsense":  {cloudsim.Fault{Status: 200, Body: "<html>"}, auth.ErrUnavailable},
	} {
		service.Set("", c.fault)
		if _, err := azure.ReadInstance(t.Context(), o, "quaymaster-"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
