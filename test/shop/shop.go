// Package shop is what most tests run on a host: the secrets of a shop, the
// labels with which its containers ask for three of them, and the check that
// the first instruction of such a container saw all three.
package shop

import (
	"context"
	"fmt"
	"slices"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
)

// Grants is the policy: containers with the label app=shop may have what is
// below shop.
const Grants = `
grants:
  - name: shop
    workloads: {label.app: shop}
    secrets: ["vault:kv/shop/**", "vault:kv1/shop/**"]
`

// Password is what kv/shop/db#password holds, Legacy what kv1/shop/legacy does.
// No test may print them.
const (
	Password = "correct-horse-battery-staple-0xC0FFEE"
	Legacy   = "old-school"
)

// PutSecrets writes the shop's secrets, and one that is not the shop's.
func PutSecrets(ctx context.Context, vault host.Vault) error {
	for _, secret := range []struct {
		mount, name string
		fields      map[string]any
	}{
		{"kv", "shop/db", map[string]any{"password": Password, "user": "shop"}},
		{"kv", "other/db", map[string]any{"password": "not-for-the-shop"}},
		{"kv1", "shop/legacy", map[string]any{"value": Legacy}},
	} {
		if err := vault.PutSecret(ctx, secret.mount, secret.name, secret.fields); err != nil {
			return err
		}
	}
	return nil
}

// Labels are the labels of a container of the shop.
func Labels(pairs ...string) map[string]string {
	out := map[string]string{"app": "shop"}
	for pair := range slices.Chunk(pairs, 2) {
		out[pair[0]] = pair[1]
	}
	return out
}

// Three is what most tests ask for: two files and a variable.
func Three() map[string]string {
	return Labels("quaymaster.secret.password", "vault:kv/shop/db#password",
		"quaymaster.secret.legacy", "vault:kv1/shop/legacy",
		"quaymaster.env.DB_PASSWORD", "vault:kv/shop/db#password")
}

// Probe is a container whose first instruction reports what it could read.
func Probe(mode string, labels map[string]string) *container.Config {
	return &container.Config{Image: engine.ProbeImage, Cmd: []string{"/probe", "/run/secrets", mode}, Labels: labels}
}

// CheckThree says what is wrong with the report of a container that asked for
// three.
func CheckThree(r engine.Report) error {
	if err := CheckFiles(r); err != nil {
		return err
	}
	if r.Env["DB_PASSWORD"].Fingerprint != engine.Fingerprint([]byte(Password)) {
		return fmt.Errorf("variables %v", r.Env)
	}
	return nil
}

// CheckFiles is CheckThree for a gate that has no variables.
func CheckFiles(r engine.Report) error {
	want := map[string]string{"password": Password, "legacy": Legacy}
	if len(r.Files) != len(want) || len(r.Unreadable) != 0 {
		return fmt.Errorf("files %v, unreadable %v", r.Files, r.Unreadable)
	}
	for name, value := range want {
		file := r.Files[name]
		if file.Fingerprint != engine.Fingerprint([]byte(value)) || file.Mode != 0o400 || file.UID != r.UID || file.GID != r.GID {
			return fmt.Errorf("file %s is %+v for user %d:%d", name, file, r.UID, r.GID)
		}
	}
	if r.Writable {
		return fmt.Errorf("the directory is writable")
	}
	return nil
}
