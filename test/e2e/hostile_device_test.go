//go:build integration && newest

package e2e_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
)

// devices is a host, whose engine knows CDI, for one test: h until it ends.
func devices(t *testing.T, o engine.Options) {
	t.Helper()
	dir := t.TempDir()
	o.Kind, o.ExtraConfig = engine.Newest, map[string]any{"cdi-spec-dirs": []string{dir}}
	ctx := context.WithoutCancel(t.Context())
	other, err := start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	shared := h
	h = other
	t.Cleanup(func() {
		h = shared
		if err := other.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	settings := fmt.Sprintf("%sdocker: {host: %q, plugin: %q, cdi_dir: %q}\nprofiles:\n"+
		"  shop: {secrets: {password: \"vault:kv/shop/db#password\", legacy: \"vault:kv1/shop/legacy\"}, path: /run/secrets}\n"+
		"  more: {secrets: {password: \"vault:kv/shop/db#password\"}, path: /run/more}\n"+
		"  same: {secrets: {password: \"vault:kv/shop/db#password\"}, path: /run/secrets}\n", plain, h.Engine.Host(), h.Plugin(), dir)
	if err := errors.Join(h.StopAgent(ctx), h.Configure(settings), h.StartAgent(ctx)); err != nil {
		t.Fatal(err)
	}
}

// TestHostileDevices is TestHostileImages for the CDI gate.
func TestHostileDevices(t *testing.T) {
	for name, options := range map[string]engine.Options{"plain": {}, "userns-remap": {UsernsRemap: true}} {
		t.Run(name, func(t *testing.T) {
			devices(t, options)
			hostileDevices(t)
		})
	}
}

func hostileDevices(t *testing.T) {
	outside := theirs(t)
	run := directory("run", 0o755)
	tmpfs := func(c *container.HostConfig) { c.Tmpfs = map[string]string{"/run/secrets": ""} }
	for name, c := range map[string]struct {
		image   []tar.Header
		devices string
		change  func(*container.HostConfig)
		says    string // empty: it starts, and the secrets are right
	}{
		"the directory is missing":   {},
		"the directory is there":     {image: []tar.Header{run, directory("run/secrets", 0o755)}},
		"read-only, missing":         {change: func(c *container.HostConfig) { c.ReadonlyRootfs = true }},
		"link to a directory":        {image: []tar.Header{run, directory("srv", 0o755), symlink("run/secrets", "/srv")}, says: "is a symbolic link"},
		"link to a path of the host": {image: []tar.Header{run, symlink("run/secrets", outside+"/secrets")}, says: "is a symbolic link"},
		"link that climbs":           {image: []tar.Header{run, symlink("run/secrets", "../../../../../.."+outside+"/secrets")}, says: "is a symbolic link"},
		"parent is a link":           {image: []tar.Header{symlink("run", outside)}, says: "is a symbolic link"},
		"link through /proc":         {image: []tar.Header{run, symlink("run/secrets", "/proc/self/cwd"+outside)}, says: "symbolic link"},
		"file":                       {image: []tar.Header{run, {Typeflag: tar.TypeReg, Name: "run/secrets"}}, says: "not a directory"},
		"FIFO":                       {image: []tar.Header{run, {Typeflag: tar.TypeFifo, Name: "run/secrets"}}, says: "not a directory"},
		"two profiles":               {devices: "shop more"},
		"two profiles at one path":   {devices: "shop same", says: "the path of one of its profiles is taken"},
		"tmpfs at it":                {change: tmpfs, says: "the path of one of its profiles is taken"},
		"bind at it":                 {change: func(c *container.HostConfig) { c.Binds = []string{outside + "/secrets:/run/secrets"} }, says: "the path of one of its profiles is taken"},
	} {
		t.Run(name, func(t *testing.T) {
			config, hostConfig := probe("once", labels()), &container.HostConfig{}
			config.Image = prepared(t, c.image...)
			if c.devices == "" {
				c.devices = "shop"
			}
			for device := range strings.FieldsSeq(c.devices) {
				hostConfig.DeviceRequests = append(hostConfig.DeviceRequests,
					container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"quaymaster.dev/secrets=" + device}})
			}
			if c.change != nil {
				c.change(hostConfig)
			}
			if c.says == "" {
				if r := runProbe(t, h, config, hostConfig); !seesTwo(r) {
					t.Errorf("it saw %+v", r)
				}
			} else if message := refused(t, h, config, hostConfig); !strings.Contains(strings.ToLower(message), c.says) {
				t.Errorf("the message does not say %q: %s", c.says, message)
			}
		})
	}
}
