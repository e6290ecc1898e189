package host

import (
	"context"
	"fmt"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
)

// StandIn is cloudsim's stand-in for Vault as a Host's Vault. Like Vault it
// sends the signed identity request of a login on to STS and believes only
// what STS answers.
type StandIn struct {
	*vaultsim.Vault
	server *cloudsim.Server
}

// StartStandIn starts a stand-in with the mounts that StartRealVault makes.
func StartStandIn() (*StandIn, error) {
	vault := vaultsim.New(cloudsim.NewEnvironment(nil, nil))
	for mount, version := range map[string]int{"kv": 2, "kv1": 1} {
		if err := vault.MountKV(mount, version); err != nil {
			return nil, err
		}
	}
	server, err := cloudsim.Start(vault, cloudsim.Options{})
	if err != nil {
		return nil, fmt.Errorf("start the stand-in for Vault: %w", err)
	}
	return &StandIn{vault, server}, nil
}

// Name implements Vault.
func (v *StandIn) Name() string { return "cloudsim's stand-in for Vault" }

// Address implements Vault.
func (v *StandIn) Address() string { return v.server.URL() }

// CAFile implements Vault: the stand-in speaks plain HTTP on loopback.
func (v *StandIn) CAFile() string { return "" }

// Bind implements Vault.
func (v *StandIn) Bind(_ context.Context, sts string) error {
	v.PutPolicy(Role, "kv/data/*", "kv1/*")
	v.EnableAWS(vaultsim.AWSAuth{Mount: "aws", STS: sts, ServerID: ServerID, Metadata: []string{"canonical_arn"}})
	return v.PutRole(vaultsim.IAMRole{
		Mount: "aws", Name: Role, Principal: Principal, Policies: []string{Role}, TTL: time.Hour,
	})
}

// PutSecret implements Vault.
func (v *StandIn) PutSecret(_ context.Context, mount, name string, fields map[string]any) error {
	_, err := v.Vault.PutSecret(mount, name, fields)
	return err
}

// Remove implements Vault.
func (v *StandIn) Remove(context.Context) error { return v.server.Close() }
