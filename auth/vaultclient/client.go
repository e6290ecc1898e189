// Package vaultclient says how this project talks to Vault: one way to build
// the client and one way to read its errors, shared by the login
// (auth/vaultlogin) and the provider (providers/vault).
//
// A Client makes one attempt per request and leaves repeating to its caller.
// It never carries a token of its own: each request is made either anonymously
// or with a token that the caller got by logging in. What goes wrong becomes a
// Failure, whose Kind is the decision and whose text says what to do.
//
// The files of the certificates (authorities, client certificate and key) may
// be replaced while a Client is in use: the next request reads them again. Until
// the new ones can be used, the last good ones stay in force.
package vaultclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth/endpoint"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// DefaultTimeout is how long one request may take: short enough that a gate
// that waits 30 seconds sees a second attempt, long enough for a login, in
// which Vault asks the cloud.
const DefaultTimeout = 10 * time.Second

// Config says where Vault is. What is empty is read from the variables that
// Vault's own tools read: VAULT_ADDR, VAULT_CACERT, VAULT_NAMESPACE,
// VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME, VAULT_SRV_LOOKUP,
// and the variables for a proxy.
type Config struct {
	// Address is https://vault.internal:8200, or srv://_vault._tcp.example.internal
	// for the servers that the SRV records of that name say. Their certificates
	// are to name what was written, without the labels that begin with an
	// underscore (example.internal), whatever the servers are called.
	Address string
	CAFile  string // PEM; empty: the system's authorities
	// ClientCertFile and ClientKeyFile, both PEM, are for a Vault whose
	// listener asks for a client certificate; both or neither.
	ClientCertFile, ClientKeyFile string
	Namespace                     string
	TLSServerName                 string        // the name to expect in the certificate, if not the address's
	Timeout                       time.Duration // of one request; zero: VAULT_CLIENT_TIMEOUT, or DefaultTimeout
	// Resolver looks names up. Nil: the system's.
	Resolver *net.Resolver
	// Dial, when set, connects instead of the network's own dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client talks to one Vault. It may be used by several goroutines.
type Client struct {
	// base is only ever copied, never used for a request, because copying an
	// api.Client that is in use is a race.
	base               *api.Client
	transport          *transport
	address, namespace string
}

// New checks config and returns a client for it. It makes no request. An error
// names the setting that is wrong, as the configuration file spells it.
func New(config Config) (*Client, error) {
	settings, err := config.settings()
	if err != nil {
		return nil, err
	}
	base, err := api.NewClient(settings)
	if err != nil {
		return nil, fmt.Errorf("vault.address %q: %w", settings.Address, err)
	}
	base.ClearToken()                                                     // NewClient takes VAULT_TOKEN; a static token is never used
	base.SetWrappingLookupFunc(func(string, string) string { return "" }) // VAULT_WRAP_TTL would wrap every answer
	if config.Namespace != "" {
		base.SetNamespace(config.Namespace)
	}
	files := config.files()
	transport := &transport{build: config.transport, files: files, stamp: stampOf(files), current: ofSettings(settings)}
	settings.HttpClient.Transport = transport
	return &Client{base: base, transport: transport, address: config.address(), namespace: base.Namespace()}, nil
}

// settings are those of the environment with config on top.
func (config Config) settings() (*api.Config, error) {
	settings := api.DefaultConfig()
	if settings.Error != nil {
		return nil, fmt.Errorf("reading the VAULT_* environment variables: %w", settings.Error)
	}
	settings.Address = config.address()
	found, err := config.discover(settings.Address, settings.SRVLookup)
	if err != nil {
		return nil, err
	}
	config.connect(settings, found)
	if err := checkAddress(settings.Address); err != nil {
		return nil, err
	}
	if err := config.configureTLS(settings); err != nil {
		return nil, err
	}
	if settings.TLSConfig().InsecureSkipVerify {
		return nil, errors.New("VAULT_SKIP_VERIFY is set, but a Vault whose certificate is not checked could be anyone: " +
			"unset it and name the authority in vault.ca_file")
	}
	settings.AgentAddress = "" // VAULT_AGENT_ADDR would replace the address
	settings.MaxRetries = 0    // the callers repeat, each by its own rule
	settings.Limiter = nil
	if config.Timeout > 0 {
		settings.Timeout = config.Timeout
	} else if os.Getenv(api.EnvVaultClientTimeout) == "" {
		settings.Timeout = DefaultTimeout
	}
	return settings, nil
}

// configureTLS puts config's certificates in the place of the environment's.
func (config Config) configureTLS(settings *api.Config) error {
	if err := settings.ConfigureTLS(&api.TLSConfig{CACert: config.CAFile, TLSServerName: config.TLSServerName}); err != nil {
		return fmt.Errorf("vault.ca_file %q: %w", config.CAFile, err)
	}
	if (config.ClientCertFile == "") != (config.ClientKeyFile == "") {
		return fmt.Errorf("vault.client_cert_file %q, vault.client_key_file %q: set both or neither", config.ClientCertFile, config.ClientKeyFile)
	}
	if err := settings.ConfigureTLS(&api.TLSConfig{ClientCert: config.ClientCertFile, ClientKey: config.ClientKeyFile}); err != nil {
		return fmt.Errorf("vault.client_cert_file %q with vault.client_key_file %q: %w", config.ClientCertFile, config.ClientKeyFile, err)
	}
	return nil
}

// files are those that settings reads.
func (config Config) files() []string {
	return slices.DeleteFunc([]string{
		cmp.Or(config.CAFile, os.Getenv(api.EnvVaultCACert)), os.Getenv(api.EnvVaultCAPath),
		cmp.Or(config.ClientCertFile, os.Getenv(api.EnvVaultClientCert)), cmp.Or(config.ClientKeyFile, os.Getenv(api.EnvVaultClientKey)),
	}, func(name string) bool { return name == "" })
}

// transport reads the certificates anew.
func (config Config) transport() (*http.Transport, error) {
	settings, err := config.settings()
	if err != nil {
		return nil, err
	}
	return ofSettings(settings), nil
}

func ofSettings(settings *api.Config) *http.Transport {
	return settings.HttpClient.Transport.(*http.Transport) // api.DefaultConfig has made it so
}

func (config Config) address() string { return cmp.Or(config.Address, os.Getenv(api.EnvVaultAddress)) }

// Address is where Vault is, for messages.
func (c *Client) Address() string { return c.address }

// Namespace is the namespace that requests are made in; empty: the root.
func (c *Client) Namespace() string { return c.namespace }

// Anonymous returns the API for requests that need no token, such as a login.
func (c *Client) Anonymous() *api.Client { return c.base.WithRequestCallbacks() }

// With returns the API for requests made with token. It costs next to nothing;
// keep the token, not the result. Calling Clone on the result would read the
// environment again, VAULT_TOKEN included: do not.
func (c *Client) With(token secret.Value) *api.Client {
	return c.base.WithRequestCallbacks(func(request *api.Request) {
		request.ClientToken = string(token.Reveal()) // the header of the request itself is what a token is for
	})
}

// CloseIdleConnections ends the connections that are not in use.
func (c *Client) CloseIdleConnections() { c.transport.closeIdleConnections() }

// checkAddress accepts the URL of a server that tokens may be sent to.
func checkAddress(address string) error {
	if address == "" {
		return errors.New("vault.address is empty: set it, for example to https://vault.internal:8200")
	}
	if _, err := endpoint.Parse(address); err != nil {
		return fmt.Errorf("vault.address %s: %w", quoted(address), err)
	}
	return nil
}

// quoted is address in quotes, unless it may hold a password.
func quoted(address string) string {
	if u, err := url.Parse(address); err != nil || u.User != nil {
		return "(not shown)"
	}
	return fmt.Sprintf("%q", address)
}
