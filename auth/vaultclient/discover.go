package vaultclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// discovery is Vault's address by DNS SRV records (RFC 2782), looked up for
// each new connection.
//
// DNS says where to connect and nothing else: the name that Vault's certificate
// must bear is the one that the operator wrote. Whoever could forge an answer
// of DNS, and has a certificate for a name of his own, would be Vault otherwise.
type discovery struct {
	record  string // whose SRV records are asked for
	host    string // to be expected in the certificate
	address string // that requests are made with
	// direct means that without records the host itself is the address, as
	// Vault's own tools take VAULT_SRV_LOOKUP.
	direct bool

	resolver *net.Resolver
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
}

// dialShare is how long one of several targets may take to accept a connection.
const dialShare = 3 * time.Second

const srvForm = "write it as srv://_vault._tcp.example.internal, for the record of that name (the port comes from the record, and the protocol is https)"

// discover reads an address of the form srv://RECORD, and the variable
// VAULT_SRV_LOOKUP, which is for addresses without a port. It is nil for an
// address that says where Vault is.
func (config Config) discover(address string, lookup bool) (*discovery, error) {
	d := &discovery{resolver: cmp.Or(config.Resolver, net.DefaultResolver)}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, nil // checkAddress says why
	case u.Scheme == "srv":
		if u.Port() != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
			return nil, errors.New("vault.address " + quoted(u.Redacted()) + ": " + srvForm)
		}
		d.record, d.host = u.Hostname(), withoutService(u.Hostname())
		if d.host == "" || net.ParseIP(d.host) != nil {
			return nil, errors.New("vault.address " + quoted(address) + ": " + srvForm)
		}
		d.address = "https://" + d.host
		return d, nil
	case lookup && u.Scheme == "https" && u.Port() == "" && net.ParseIP(u.Hostname()) == nil:
		d.record, d.host, d.address, d.direct = "_http._tcp."+u.Hostname(), u.Hostname(), address, true
		return d, nil
	}
	return nil, nil
}

// withoutService is what a record's name is about: _vault._tcp.example.internal
// is a service of example.internal.
func withoutService(name string) string {
	for strings.HasPrefix(name, "_") {
		_, name, _ = strings.Cut(name, ".")
	}
	return strings.TrimSuffix(name, ".")
}

// install makes connections to the host connections to what the records name.
// No proxy could look them up, so there is none for that host.
func (d *discovery) install(transport *http.Transport) {
	d.dial = transport.DialContext
	address := net.JoinHostPort(d.host, "443")
	transport.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		if !strings.EqualFold(to, address) {
			return d.dial(ctx, network, to)
		}
		return d.connect(ctx, network, address)
	}
	proxy := transport.Proxy
	transport.Proxy = func(request *http.Request) (*url.URL, error) {
		if proxy == nil || strings.EqualFold(request.URL.Hostname(), d.host) {
			return nil, nil
		}
		return proxy(request)
	}
}

// connect tries the targets in the order of their priorities and weights.
func (d *discovery) connect(ctx context.Context, network, address string) (net.Conn, error) {
	targets, err := d.targets(ctx)
	switch {
	case err != nil && d.direct:
		return d.dial(ctx, network, address)
	case err != nil:
		return nil, err
	}
	var failures []error
	for i, target := range targets {
		conn, err := d.try(ctx, network, target, i == len(targets)-1)
		if err == nil {
			return conn, nil
		}
		if failures = append(failures, err); ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("as %s says: %w", d.record, errors.Join(failures...))
}

// try connects to one target; where there are others, it does not take long.
func (d *discovery) try(ctx context.Context, network, target string, last bool) (net.Conn, error) {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialShare)
		defer cancel()
	}
	return d.dial(ctx, network, target)
}

// targets looks the records up. One whose target is "." says that the service
// is not to be had.
func (d *discovery) targets(ctx context.Context) ([]string, error) {
	_, records, err := d.resolver.LookupSRV(ctx, "", "", d.record)
	var targets []string
	for _, record := range records {
		if name := strings.TrimSuffix(record.Target, "."); name != "" {
			targets = append(targets, net.JoinHostPort(name, strconv.Itoa(int(record.Port))))
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("%s has no SRV record that names a server: %w", d.record, cmp.Or(err, errNoTarget))
	}
	return targets, nil
}

var errNoTarget = errors.New("DNS says that there is none")

// connect says how connections are made, on top of what settings say.
func (config Config) connect(settings *api.Config, found *discovery) {
	transport := settings.HttpClient.Transport.(*http.Transport) // api.DefaultConfig has made it so
	switch {
	case config.Dial != nil:
		transport.DialContext = config.Dial
	case config.Resolver != nil:
		transport.DialContext = (&net.Dialer{Resolver: config.Resolver}).DialContext
	}
	settings.SRVLookup = false // the api package would let DNS say whom to trust
	if found != nil {
		settings.Address = found.address
		found.install(transport)
	}
}
