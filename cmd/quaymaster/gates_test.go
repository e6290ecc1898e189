package main

import (
	"log/slog"
	"maps"
	"testing"

	"github.com/quaymaster/quaymaster/broker/config"
)

// TestDevicesOfProfiles: every profile with files is a device, at the path that
// it names or where secrets are when it names none.
func TestDevicesOfProfiles(t *testing.T) {
	secrets := map[string]string{"password": "vault:kv/a"}
	c := config.Config{Profiles: map[string]config.Profile{
		"without-path": {Secrets: secrets}, "with-path": {Secrets: secrets, Path: "/etc/app"}, "variables": {Env: secrets},
	}}
	got := deviceProfiles(c, slog.New(slog.DiscardHandler))
	if want := map[string]string{"without-path": "/run/secrets", "with-path": "/etc/app"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
