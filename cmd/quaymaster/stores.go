package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/awssm"
	"github.com/quaymaster/quaymaster/providers/azurekv"
	"github.com/quaymaster/quaymaster/providers/gcpsm"
	"github.com/quaymaster/quaymaster/providers/vault"
)

// stores are the providers of a host, by name, and what must run for them.
type stores struct {
	// moved receives when a token was replaced that leases may hang on.
	moved     chan struct{}
	providers map[string]providers.Provider
	hosts     map[string]*vaultlogin.Source // the host's login to each Vault
	logins    []interface {
		Run(ctx context.Context) error
	}
}

// openStores makes every configured provider. It makes all before any runs.
func openStores(ctx context.Context, c config.Config, log *slog.Logger) (*stores, error) {
	cloud, err := identity(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.IsStatic() {
		log.Warn("STATIC IDENTITY: whoever reads its file can be this host; that is for a developer's machine only", "identity", c.Identity)
	}
	s := newStores()
	for name, settings := range c.Vaults() {
		p := prover{cloud: cloud, config: c, settings: settings, provider: name, log: log.With("provider", name), replaced: s.tellMoved}
		if err := s.openVault(p); err != nil {
			return nil, fmt.Errorf("provider %s: %w", name, err)
		}
	}
	for name, settings := range c.Clouds() {
		provider, err := openCloud(ctx, cloud, c, settings)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", name, err)
		}
		s.providers[name] = provider
	}
	return s, nil
}

func newStores() *stores {
	return &stores{providers: map[string]providers.Provider{}, hosts: map[string]*vaultlogin.Source{}, moved: make(chan struct{}, 1)}
}

// whileLoggedIn keeps the logins alive while work runs, and a little longer:
// what work still reads or revokes at its end takes a token.
func (s *stores) whileLoggedIn(ctx context.Context, work func(ctx context.Context) error) error {
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var logins errgroup.Group
	for _, login := range s.logins {
		logins.Go(func() error { return login.Run(alive) })
	}
	err := work(ctx)
	end()
	return errors.Join(err, logins.Wait())
}

func (s *stores) tellMoved() {
	select {
	case s.moved <- struct{}{}:
	default: // one word says it all
	}
}

// openVault makes the login to one Vault, the logins in the name of containers
// below it, and the provider that uses both.
func (s *stores) openVault(p prover) error {
	var err error
	if p.client, err = vaultClient(p.settings); err != nil {
		return err
	}
	host, err := p.login(cmp.Or(p.settings.Role, config.IdentityTokenFile)) // a token needs no role, but a name
	if err != nil {
		return err
	}
	containers, err := vaultlogin.NewDelegation(vaultlogin.DelegationOptions{
		Client: p.client, Host: host, Login: p.login, Logger: p.log, Replaced: p.replaced,
	})
	if err != nil {
		return err
	}
	s.logins, s.hosts[p.provider] = append(s.logins, host, containers), host
	s.providers[p.provider] = vault.New(vault.Options{
		Client: p.client, Tokens: host, Delegate: containers.Source, Forget: containers.Forget, Now: time.Now,
	})
	return nil
}

func vaultClient(settings config.Vault) (*vaultclient.Client, error) {
	return vaultclient.New(vaultclient.Config{
		Address: settings.Address, CAFile: settings.CAFile, Namespace: settings.Namespace,
		ClientCertFile: settings.ClientCertFile, ClientKeyFile: settings.ClientKeyFile, TLSServerName: settings.TLSServerName,
	})
}

// login makes the login as a role.
func (p prover) login(role string) (*vaultlogin.Source, error) {
	attestor, err := p.attestor(role)
	if err != nil {
		return nil, err
	}
	return vaultlogin.New(vaultlogin.Options{
		Client: p.client, Attestor: attestor, Mount: p.mount(), Role: role, Audience: p.settings.ServerID,
		Spread: p.settings.LoginSpread, RevokeOnShutdown: p.settings.RevokeOnShutdown, Logger: p.log,
		Replaced: p.replaced,
	})
}

// openCloud makes the provider of a cloud's own store, which is read with the
// identity that the host has in that cloud.
func openCloud(ctx context.Context, cloud detect.Cloud, c config.Config, settings config.Provider) (providers.Provider, error) {
	if string(cloud) != settings.Type {
		return nil, fmt.Errorf("a store of type %s is read with the host's own identity in that cloud, and this host's is %s", settings.Type, cloud)
	}
	switch settings.Type {
	case config.TypeAzure:
		return openKeyVault(c, settings)
	case config.TypeGCP:
		return openSecretManager(settings)
	default:
		return openSecretsManager(ctx, settings)
	}
}

func openSecretsManager(ctx context.Context, settings config.Provider) (providers.Provider, error) {
	keys, err := aws.HostCredentials()
	if err != nil {
		return nil, err
	}
	region := settings.Region
	if region == "" {
		if region, err = aws.HostRegion(ctx); err != nil {
			return nil, fmt.Errorf("%w; or set its region", err)
		}
	}
	return awssm.New(awssm.Options{
		Credentials: keys, Region: region, AssumeRole: settings.AssumeRole, ExternalID: settings.ExternalID, Replicas: settings.Replicas,
	})
}

func openKeyVault(c config.Config, settings config.Provider) (providers.Provider, error) {
	host, err := azure.HostCredential(azure.Options{ClientID: cmp.Or(settings.ClientID, c.Azure.ClientID)})
	if err != nil {
		return nil, err
	}
	return azurekv.New(azurekv.Options{Credential: host, DNSSuffix: settings.DNSSuffix, FindDNSSuffix: host.KeyVaults})
}

func openSecretManager(settings config.Provider) (providers.Provider, error) {
	tokens, err := gcp.NewAccessTokens(gcp.AccessOptions{Impersonate: settings.Impersonate})
	if err != nil {
		return nil, err
	}
	return gcpsm.New(gcpsm.Options{Tokens: tokens, Endpoint: settings.Endpoint})
}
