package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/vault"
)

// identity is the cloud whose identity the host shows: the configured one, or
// the one that it turns out to run in.
func identity(ctx context.Context, c config.Config) (detect.Cloud, error) {
	if c.Identity != config.IdentityAuto {
		return detect.Cloud(c.Identity), nil
	}
	return detect.Detect(ctx, detect.Options{Getenv: os.Getenv})
}

// newAttestor makes what proves the host's identity to one Vault.
func newAttestor(cloud detect.Cloud, c config.Config, settings config.Vault) (auth.Attestor, error) {
	switch cloud {
	case detect.Azure:
		return azure.New(azure.Options{ClientID: c.Azure.ClientID})
	case detect.GCP:
		return gcp.New(gcp.Options{Type: gcp.Type(c.GCP.Login), Role: settings.Role})
	default:
		return aws.New(aws.Options{STSRegion: settings.STSRegion})
	}
}

// openVaults makes the provider of each configured Vault, by its name, and the
// logins to run for them.
func openVaults(cloud detect.Cloud, c config.Config, log *slog.Logger) (map[string]providers.Provider, []*vaultlogin.Source, error) {
	stores, logins := map[string]providers.Provider{}, []*vaultlogin.Source{}
	for name, settings := range c.Vaults() {
		login, provider, err := openVault(cloud, c, settings, log.With("provider", name))
		if err != nil {
			return nil, nil, fmt.Errorf("provider %s: %w", name, err)
		}
		stores[name], logins = provider, append(logins, login)
	}
	return stores, logins, nil
}

// openVault makes the login to one Vault and the provider that uses it.
func openVault(cloud detect.Cloud, c config.Config, settings config.Vault, log *slog.Logger) (*vaultlogin.Source, *vault.Provider, error) {
	client, err := vaultclient.New(vaultclient.Config{
		Address: settings.Address, CAFile: settings.CAFile, Namespace: settings.Namespace,
		ClientCertFile: settings.ClientCertFile, ClientKeyFile: settings.ClientKeyFile,
	})
	if err != nil {
		return nil, nil, err
	}
	host, err := newAttestor(cloud, c, settings)
	if err != nil {
		return nil, nil, err
	}
	login, err := vaultlogin.New(vaultlogin.Options{
		Client: client, Attestor: host, Mount: cmp.Or(settings.Mount, string(cloud)), Role: settings.Role, Audience: settings.ServerID,
		Spread: settings.LoginSpread, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	return login, vault.New(vault.Options{Client: client, Tokens: login, Now: time.Now}), nil
}
