package gcp_test

import (
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

func TestReadInstance(t *testing.T) {
	w := newWorld(t)
	found, err := gcp.ReadInstance(t.Context(), "quaymaster-")
	if err != nil || found.Cloud != "gcp" || found.ID != "docker-1" || len(found.Attributes) != 0 || found.UserData.Len() != 0 {
		t.Errorf("without anything: %+v, %v", found, err)
	}
	long := strings.Repeat("#", 256<<10) // as much as an attribute may be
	for name, value := range map[string]string{"startup-script": long, "ssh-keys": "a:b", "quaymaster-config": "vault: {}", "quaymaster-vault-role": "r", "user-data": long} {
		w.instance.SetAttribute(name, value)
	}
	found, err = gcp.ReadInstance(t.Context(), "quaymaster-")
	want := map[string]string{"quaymaster-config": "vault: {}", "quaymaster-vault-role": "r"}
	if err != nil || !maps.Equal(found.Attributes, want) || string(found.UserData.Reveal()) != long { // to compare
		t.Errorf("%v, %d bytes, %v", found.Attributes, found.UserData.Len(), err)
	}
	if n := w.instance.Count("", "/computeMetadata/v1/instance/attributes/startup-script"); n != 0 {
		t.Error("it reads what is not for it")
	}
	w.instance.SetAttribute("user-data", base64.StdEncoding.EncodeToString([]byte("\x1f\x8b")))
	w.instance.SetAttribute("user-data-encoding", "base64")
	if found, err = gcp.ReadInstance(t.Context(), "quaymaster-"); err != nil || string(found.UserData.Reveal()) != "\x1f\x8b" { // to compare
		t.Errorf("%v", err)
	}
	w.instance.SetAttribute("user-data", "%")
	if _, err = gcp.ReadInstance(t.Context(), "quaymaster-"); err == nil {
		t.Error("what is no base64 was taken for it")
	}
}

func TestReadInstanceWithoutAService(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		fault cloudsim.Fault
		want  error
	}{
		"throttled": {gcpsim.Throttled, auth.ErrUnavailable},
		"absent":    {gcpsim.Absent, auth.ErrNoIdentity},
		"silent":    {cloudsim.Fault{Delay: time.Hour}, auth.ErrUnavailable},
	} {
		w.instance.Set("", c.fault)
		if _, err := gcp.ReadInstance(t.Context(), "quaymaster-"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
