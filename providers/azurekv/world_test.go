package azurekv_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/keyvault"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/azurekv"
)

const (
	tenantID     = "11111111-2222-3333-4444-555555555555"
	otherTenant  = "99999999-2222-3333-4444-555555555555"
	subscription = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	// mark is in every value and is looked for in every error.
	mark = "s3cr3t"
	// host is the vault shop-kv's.
	host = "shop-kv.vault.azure.net"
)

// world is a cloud, a machine in it, and a provider that runs on the machine.
type world struct {
	t        *testing.T
	cloud    *azuresim.Cloud
	tenant   *azuresim.Tenant
	machine  *azuresim.IMDS
	vault    *azuresim.Vault // shop-kv, all of which the machine's identity may read
	options  azurekv.Options
	provider *azurekv.Provider
	now      time.Time
	refuses  atomic.Bool // nobody listens where the vaults are
}

func newWorld(t *testing.T) *world { return newWorldIn(t, azuresim.Public) }

func newWorldIn(t *testing.T, cloud string) *world {
	t.Helper()
	w := &world{t: t, now: time.Now()}
	var err error
	if w.cloud, err = azuresim.NewCloudCalled(cloud, cloudsim.NewEnvironment(nil, nil)); err != nil {
		t.Fatal(err)
	}
	w.tenant = w.cloud.AddTenant(tenantID)
	w.machine = w.tenant.AddMachine(azuresim.Machine{Subscription: subscription, ResourceGroup: "shop", Name: "web-1",
		Location: "westeurope", SystemAssigned: true})
	w.vault = w.addVault(w.tenant, "shop-kv", "")
	credential, err := azure.HostCredential(azure.Options{Endpoint: serve(t, w.machine, cloudsim.Options{}), Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	w.options = azurekv.Options{Credential: credential, FindDNSSuffix: credential.KeyVaults, Connection: w.connect(), Now: w.clock}
	w.provider = w.open(w.options)
	return w
}

// addVault adds one that the machine's identity may read.
func (w *world) addVault(tenant *azuresim.Tenant, name, suffix string) *azuresim.Vault {
	vault := tenant.AddVault(name, suffix)
	vault.Grant(w.identity())
	return vault
}

func (w *world) clock() time.Time { return w.now }

func (w *world) identity() string { return w.machine.Identities()[0].PrincipalID }

func (w *world) open(o azurekv.Options) *azurekv.Provider {
	w.t.Helper()
	provider, err := azurekv.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(provider.CloseIdleConnections)
	return provider
}

// connect leads every host to the cloud, which has their certificate.
func (w *world) connect() keyvault.Connection {
	w.t.Helper()
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		w.t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority.PEM())
	open := to(serve(w.t, w.cloud, cloudsim.Options{Authority: authority, Names: azuresim.Hosts}))
	refusing := to(closed(w.t))
	return keyvault.Connection{Authorities: trusted, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if w.refuses.Load() {
			return refusing(ctx, network, address)
		}
		return open(ctx, network, address)
	}}
}

// to dials one server, whatever the address.
func to(url string) func(ctx context.Context, network, _ string) (net.Conn, error) {
	_, address, _ := strings.Cut(url, "://")
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// closed is where a server has been.
func closed(t *testing.T) (url string) {
	t.Helper()
	server, err := cloudsim.Start(http.NotFoundHandler(), cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	return server.URL()
}

func serve(t *testing.T, handler http.Handler, o cloudsim.Options) (url string) {
	t.Helper()
	server, err := cloudsim.Start(handler, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

func (w *world) fetch(ref string) (secret.Secret, error) {
	w.t.Helper()
	return w.provider.Fetch(w.t.Context(), parse(w.t, ref))
}

// wants fails unless ref has exactly these fields.
func (w *world) wants(ref string, want map[string]string) secret.Secret {
	w.t.Helper()
	found, err := w.fetch(ref)
	if err != nil {
		w.t.Error(err)
		return found
	}
	if len(found.Fields) != len(want) {
		w.t.Errorf("%s has the fields %v", ref, found.Names())
	}
	for name, value := range want {
		if got := string(found.Fields[name].Reveal()); got != value { // to compare
			w.t.Errorf("%s: field %s is %q, want %q", ref, name, got, value)
		}
	}
	return found
}

// fails checks what every error must be, and that this one says each of texts.
func (w *world) fails(ref string, kind error, texts ...string) {
	w.t.Helper()
	found, err := w.fetch(ref)
	if err == nil || found.Fields != nil {
		w.t.Errorf("%s: %v, fields %v", ref, err, found.Names())
		return
	}
	checkError(w.t, err, kind, append(texts, ref)...)
}

// checkError: an error is one line, wraps exactly one of the providers' errors
// and holds neither a value nor a token.
func checkError(t *testing.T, err, kind error, texts ...string) {
	t.Helper()
	for _, other := range []error{providers.ErrInvalid, providers.ErrNotFound, providers.ErrDenied, providers.ErrUnavailable} {
		if errors.Is(err, other) != (other == kind) {
			t.Errorf("is %q: %v, of: %v", other, other != kind, err)
		}
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	for _, leak := range []string{mark, "eyJ", "\n", "\r"} {
		if strings.Contains(err.Error(), leak) {
			t.Errorf("%q is in: %v", leak, err)
		}
	}
	if len(err.Error()) > 500 {
		t.Errorf("%d bytes are more than a line: %v", len(err.Error()), err)
	}
}

func parse(t *testing.T, text string) secret.Ref {
	t.Helper()
	ref, err := secret.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// put stores a secret without a content type.
func (w *world) put(name, value string) (version string) {
	return w.vault.Put(name, azuresim.VaultSecret{Value: mark + value})
}

// reads is how many reads have reached shop-kv.
func (w *world) reads() int { return w.cloud.Count(azuresim.VaultRead, host) }
