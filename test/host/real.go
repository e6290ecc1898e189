package host

import (
	"context"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/test/realvault"
)

// policy is what the host's role may do: read all secrets of both mounts, have
// database logins and certificates made where tests mount the engines for
// them, and end what it was given; nothing else.
const policy = `
path "kv/data/*"         { capabilities = ["read"] }
path "kv1/*"             { capabilities = ["read"] }
path "database/creds/*"  { capabilities = ["read"] }
path "pki/issue/*"       { capabilities = ["update"] }
path "pki/sign/*"        { capabilities = ["update"] }
path "sys/leases/renew"  { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
`

// RealVault is a real Vault server as a Host's Vault.
type RealVault struct{ *realvault.Vault }

// StartRealVault starts a server that is empty but for the mounts kv (version
// 2) and kv1 (version 1).
func StartRealVault(ctx context.Context, o realvault.Options) (*RealVault, error) {
	server, err := realvault.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	for mount, version := range map[string]int{"kv": 2, "kv1": 1} {
		if err := server.MountKV(ctx, mount, version); err != nil {
			return nil, fmt.Errorf("%w (and: %v)", err, server.Remove(ctx))
		}
	}
	return &RealVault{server}, nil
}

// Name implements Vault.
func (v *RealVault) Name() string { return "a real Vault server" }

// Bind implements Vault.
func (v *RealVault) Bind(ctx context.Context, sts string) error {
	if err := v.WritePolicy(ctx, Role, policy); err != nil {
		return err
	}
	if err := v.EnableAWS(ctx, realvault.AWSAuth{Mount: "aws", STS: sts, ServerID: ServerID}); err != nil {
		return err
	}
	return v.WriteIAMRole(ctx, realvault.IAMRole{
		Mount: "aws", Name: Role, Principal: Principal, Policies: []string{Role}, TTL: time.Hour,
	})
}

// PutSecret implements Vault.
func (v *RealVault) PutSecret(ctx context.Context, mount, name string, fields map[string]any) error {
	if mount == "kv1" {
		return v.PutKV1(ctx, mount, name, fields)
	}
	_, err := v.PutKV2(ctx, mount, name, fields)
	return err
}
