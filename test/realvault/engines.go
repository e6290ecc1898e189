package realvault

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"
)

// mount mounts a secrets engine of a type that needs no options.
func (v *Vault) mount(ctx context.Context, path, kind string) error {
	if err := v.client.Sys().MountWithContext(ctx, path, &api.MountInput{Type: kind}); err != nil {
		return fmt.Errorf("mount a %s engine at %s: %w", kind, path, err)
	}
	return nil
}

// put writes to a path of an engine whose answer matters to nobody.
func (v *Vault) put(ctx context.Context, path string, body map[string]any) error {
	if _, err := v.client.Logical().WriteWithContext(ctx, path, body); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// EnableTransit mounts a transit engine with one key.
func (v *Vault) EnableTransit(ctx context.Context, mount, key string) error {
	if err := v.mount(ctx, mount, "transit"); err != nil {
		return err
	}
	return v.put(ctx, mount+"/keys/"+key, nil)
}

// Encrypt has a transit engine encrypt a plaintext.
func (v *Vault) Encrypt(ctx context.Context, mount, key string, plaintext []byte) (ciphertext string, err error) {
	body := map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext)}
	made, err := v.client.Logical().WriteWithContext(ctx, mount+"/encrypt/"+key, body)
	if err != nil {
		return "", fmt.Errorf("encrypt with %s of %s: %w", key, mount, err)
	}
	return fmt.Sprint(made.Data["ciphertext"]), nil
}

// EnableSSH mounts an SSH engine with an authority of its own and a role that
// signs keys for one user, for ttl (whole seconds). It returns the authority's
// public key.
func (v *Vault) EnableSSH(ctx context.Context, mount, role, user string, ttl time.Duration) (ca string, err error) {
	if err := v.mount(ctx, mount, "ssh"); err != nil {
		return "", err
	}
	made, err := v.client.Logical().WriteWithContext(ctx, mount+"/config/ca", map[string]any{"generate_signing_key": true, "key_type": "ed25519"})
	if err != nil {
		return "", fmt.Errorf("make the authority of %s: %w", mount, err)
	}
	return fmt.Sprint(made.Data["public_key"]), v.put(ctx, mount+"/roles/"+role, map[string]any{
		"key_type": "ca", "allow_user_certificates": true, "allowed_users": user, "default_user": user, "ttl": int(ttl.Seconds()),
	})
}

// EnableTOTP mounts a TOTP engine with one key that Vault makes.
func (v *Vault) EnableTOTP(ctx context.Context, mount, key string) error {
	if err := v.mount(ctx, mount, "totp"); err != nil {
		return err
	}
	return v.put(ctx, mount+"/keys/"+key, map[string]any{"generate": true, "issuer": "Quaymaster", "account_name": key})
}

// CheckCode asks a TOTP engine whether a code is right, which it is once.
func (v *Vault) CheckCode(ctx context.Context, mount, key, code string) (valid bool, err error) {
	said, err := v.client.Logical().WriteWithContext(ctx, mount+"/code/"+key, map[string]any{"code": code})
	if err != nil {
		return false, fmt.Errorf("check a code of %s: %w", key, err)
	}
	return said.Data["valid"] == true, nil
}

// Wrap has Vault wrap what is at path (a read) for ttl, and returns the
// wrapping token.
func (v *Vault) Wrap(ctx context.Context, path string, ttl time.Duration) (token string, err error) {
	client := v.client.WithRequestCallbacks(func(request *api.Request) { request.WrapTTL = ttl.String() })
	wrapped, err := client.Logical().ReadWithContext(ctx, path)
	if err != nil {
		return "", fmt.Errorf("wrap %s: %w", path, err)
	}
	if wrapped == nil || wrapped.WrapInfo == nil {
		return "", fmt.Errorf("wrap %s: Vault wrapped nothing", path)
	}
	return wrapped.WrapInfo.Token, nil
}
