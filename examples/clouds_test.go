//go:build engines

package examples_test

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/netns"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// tryCompose runs a compose example as its README says: both services have what
// they ask for at their first instruction, and nobody else sees it.
func (w *world) tryCompose(t *testing.T, dir string) {
	w.configure(t, dir, "")
	p := w.project(t, dir, probed(map[string]string{"db": "/run/secrets", "web": "/etc/nginx/secrets"}))
	p.up(t)
	holds(t, p.report(t, "db"), 0o440, 999, map[string]string{"password": w.value(t, "shop/db", "password")})
	web := p.report(t, "web")
	holds(t, web, 0o400, 0, map[string]string{"htpasswd": w.value(t, "shop/web", "htpasswd")})
	key := w.value(t, "shop/web", "cookie_key")
	varies(t, web, "COOKIE_KEY", key)
	inspected, err := w.Engine.Docker(soon(t), p.dir, "inspect", "shop-web-1")
	if err != nil || !strings.Contains(inspected, "quaymaster.env.COOKIE_KEY") || strings.Contains(inspected, key) {
		t.Errorf("docker inspect lacks the label or shows the value: %v", err)
	}
	p.write(t, "compose.override.yaml", "services:\n  web: {image: "+engine.ProbeImage+", pull_policy: never, labels: {environment: testing}}\n")
	if _, err := p.compose(soon(t), "up", "--detach", "web"); err == nil || !strings.Contains(err.Error(), `denied by policy: grant "web" lists it, but it is for`) {
		t.Errorf("web of another environment: %v", err)
	}
}

// serve starts a stand-in that ends with the test, in a network namespace or
// in none, and returns its URL.
func serve(t *testing.T, in *netns.Namespace, handler http.Handler, o cloudsim.Options) string {
	t.Helper()
	var server *cloudsim.Server
	err := in.Do(func() (err error) {
		server, err = cloudsim.Start(handler, o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL()
}

// TestComposeOnAzure: the agent lives in a network in which Azure's metadata
// service has its real address, and Vault asks Microsoft's hosts.
func TestComposeOnAzure(t *testing.T) {
	cloud, err := azuresim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	const tenantID, subscription = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	tenant := cloud.AddTenant(tenantID)
	tenant.AddApplication("77777777-2222-3333-4444-555555555555", "vault's own")
	machine := tenant.AddMachine(azuresim.Machine{Subscription: subscription, ResourceGroup: "shop", Name: "web-1",
		Location: "westeurope", SystemAssigned: true})
	w := start(t, options{
		kind: engine.Debian, dir: "compose-azure", vault: realvault.Options{Env: microsoft(t, cloud)},
		variables: []string{"TENANT_ID=" + tenantID, "SUBSCRIPTION_ID=" + subscription, "PRINCIPAL_ID=" + machine.Identities()[0].PrincipalID,
			"CLIENT_ID=77777777-2222-3333-4444-555555555555", "CLIENT_SECRET=vault's own"},
		stand: func(context.Context, *realvault.Vault, string) error { return nil },
	})
	if w.Namespace, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Namespace.Close() })
	if err := w.Namespace.AddAddress("169.254.169.254/32"); err != nil {
		t.Fatal(err)
	}
	serve(t, w.Namespace, machine, cloudsim.Options{Address: cloudsim.LinkLocal})
	w.seen = serve(t, w.Namespace, w.wayToVault(t), cloudsim.Options{})
	w.tryCompose(t, "compose-azure")
}

// microsoft leads Vault, which has Microsoft's hosts hard-coded, to the cloud.
func microsoft(t *testing.T, cloud http.Handler) (environment []string) {
	t.Helper()
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	hosts := serve(t, nil, cloud, cloudsim.Options{Authority: authority, Names: azuresim.Hosts})
	proxy := serve(t, nil, cloudsim.Proxy{To: strings.TrimPrefix(hosts, "https://")}, cloudsim.Options{})
	return []string{"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + ca}
}

// wayToVault leads out of the agent's network to Vault.
func (w *world) wayToVault(t *testing.T) http.Handler {
	t.Helper()
	to, err := url.Parse(w.vault.Address())
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: &http.Transport{DisableKeepAlives: true}}
}

// TestComposeOnGCP: Vault runs on an instance of its own, as whose service
// account it asks Google about the host.
func TestComposeOnGCP(t *testing.T) {
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	instance := cloud.AddInstance(gcpsim.Instance{Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1",
		ServiceAccount: cloud.AddServiceAccount("shop-prod", "docker-host")})
	vaults := cloud.AddInstance(gcpsim.Instance{Project: "vault-prod", Zone: "europe-west1-c", Name: "vault-1",
		ServiceAccount: cloud.AddServiceAccount("vault-prod", "vault")})
	apis := serve(t, nil, gcpsim.NewAPIs(cloud), cloudsim.Options{})
	w := start(t, options{
		kind: engine.Debian, dir: "compose-gcp", vault: realvault.Options{TLS: true, Env: []string{at(serve(t, nil, vaults, cloudsim.Options{}))}},
		stand: func(ctx context.Context, v *realvault.Vault, _ string) error {
			endpoints := map[string]string{"api": apis, "iam": apis, "crm": apis, "compute": apis + gcpsim.ComputePath}
			_, err := v.Client().Logical().WriteWithContext(ctx, "auth/gcp/config", map[string]any{"custom_endpoint": endpoints})
			return err
		},
	})
	w.Environment = []string{at(serve(t, nil, instance, cloudsim.Options{}))}
	w.tryCompose(t, "compose-gcp")
}

// at is the variable that names a metadata server of Google's.
func at(url string) string { return "GCE_METADATA_HOST=" + strings.TrimPrefix(url, "http://") }
