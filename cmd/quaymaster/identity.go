package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/auth/static"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/config"
)

// staticIdentity stands in the place of a cloud for what a machine's owner has
// put into a file.
const staticIdentity detect.Cloud = "static"

// identity is the cloud whose identity the host shows: the configured one, or
// the one that it turns out to run in.
func identity(ctx context.Context, c config.Config) (detect.Cloud, error) {
	switch {
	case c.IsStatic():
		return staticIdentity, nil
	case c.Identity != config.IdentityAuto:
		return detect.Cloud(c.Identity), nil
	}
	return detect.Detect(ctx, detect.Options{Getenv: os.Getenv})
}

// prover makes what proves the host's identity to one Vault.
type prover struct {
	cloud    detect.Cloud
	config   config.Config
	settings config.Vault
	provider string // the Vault's
	client   *vaultclient.Client
	log      *slog.Logger
	replaced func() // a token of its login was replaced
}

// mount is where the auth method is that takes the proof.
func (p prover) mount() string {
	method := string(p.cloud)
	switch p.config.Identity {
	case config.IdentityTokenFile:
		method = "token"
	case config.IdentityAppRoleWrapped:
		method = "approle"
	}
	return cmp.Or(p.settings.Mount, method)
}

// attestor makes evidence for a role.
func (p prover) attestor(role string) (auth.Attestor, error) {
	c := p.config
	switch {
	case c.Identity == config.IdentityTokenFile:
		return static.NewTokenFile(c.StaticIdentity.TokenFile)
	case c.Identity == config.IdentityAppRoleWrapped:
		return static.NewWrappedAppRole(static.AppRoleOptions{
			Client: p.client, Mount: p.mount(), Role: role, RoleID: c.StaticIdentity.RoleID,
			File: c.StaticIdentity.WrappedSecretIDFile, Logger: p.log,
		})
	case p.cloud == detect.Azure:
		return azure.New(azure.Options{ClientID: c.Azure.ClientID})
	case p.cloud == detect.GCP:
		return gcp.New(gcp.Options{Type: gcp.Type(c.GCP.Login), Role: role})
	}
	return aws.New(aws.Options{
		Type: aws.Type(c.AWS.Login), STSRegion: p.settings.STSRegion, STSEndpoint: p.settings.STSEndpoint,
		NonceFile: p.nonceFile(),
	})
}

// nonceFile keeps what Vault remembers of the first login of type ec2.
func (p prover) nonceFile() string {
	return filepath.Join(memoryRoot(p.config), "aws-nonce-"+p.provider)
}
