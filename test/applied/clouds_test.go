//go:build terraform

package applied_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// whole applies the modules for hosts of one cloud, and tries what two
// identities may do: that of the hosts, and another one.
func whole(t *testing.T, v *realvault.Vault, s setting, host, other identity) {
	t.Helper()
	mountKV(t, v)
	fill(t, v)
	dir := t.TempDir()
	s["directory"] = dir
	a := apply(t, v, s)
	a.settled(t)
	state, err := os.ReadFile(filepath.Join(a.dir, "terraform.tfstate"))
	must(t, err)
	if strings.Contains(string(state), "own secret of vault") {
		t.Error("the client secret lies in Terraform's state")
	}
	boot(t, a.output(t, "user_data"))
	file := filepath.Join(dir, "quaymaster.yaml")
	t.Run("rights", func(t *testing.T) { rights(t, file, host) })
	t.Run("another identity", func(t *testing.T) { refused(t, file, other) })
	a.destroyed(t)
}

const (
	tenantID, subscription = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	vaultsClientID         = "77777777-2222-3333-4444-555555555555"
)

func TestAzure(t *testing.T) {
	cloud, err := azuresim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	must(t, err)
	tenant := cloud.AddTenant(tenantID)
	tenant.AddApplication(vaultsClientID, "own secret of vault")
	machine := azuresim.Machine{Subscription: subscription, ResourceGroup: "shop", Name: "web-1", Location: "westeurope", SystemAssigned: true}
	host := tenant.AddMachine(machine)
	machine.Name = "web-2"
	other := tenant.AddMachine(machine)

	authority, err := cloudsim.NewAuthority()
	must(t, err)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, authority.PEM(), 0o600))
	microsoft := serve(t, cloud, cloudsim.Options{Authority: authority, Names: azuresim.Hosts})
	proxy := serve(t, cloudsim.Proxy{To: strings.TrimPrefix(microsoft, "https://")}, cloudsim.Options{})
	v := realvault.ForTest(t, realvault.Options{Env: []string{"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + ca}})

	on := func(machine *azuresim.IMDS) identity {
		return func(t *testing.T, _ string) (auth.Attestor, error) {
			return azure.New(azure.Options{Endpoint: serve(t, machine, cloudsim.Options{})})
		}
	}
	whole(t, v, setting{
		"identity": "azure",
		"binding": map[string]any{"azure": map[string]any{"tenant_id": tenantID, "client_id": vaultsClientID,
			"bound_service_principal_ids": []string{host.Identities()[0].PrincipalID}, "bound_resource_groups": []string{"shop"}, "bound_subscription_ids": []string{subscription}}},
		"secret": map[string]any{"value": "own secret of vault"},
	}, on(host), on(other))
}

func TestGCP(t *testing.T) {
	for _, kind := range []gcp.Type{gcp.GCE, gcp.IAM} {
		t.Run(string(kind), func(t *testing.T) { google(t, kind) })
	}
}

func google(t *testing.T, kind gcp.Type) {
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	instance := gcpsim.Instance{Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1", ServiceAccount: cloud.AddServiceAccount("shop-prod", "docker-host")}
	neighbour := instance
	neighbour.Name, neighbour.ServiceAccount = "docker-2", cloud.AddServiceAccount("shop-prod", "another")
	for _, account := range []string{instance.ServiceAccount, neighbour.ServiceAccount} {
		must(t, cloud.AllowSigning(account))
	}
	metadata := func(i gcpsim.Instance) string {
		return strings.TrimPrefix(serve(t, cloud.AddInstance(i), cloudsim.Options{}), "http://")
	}
	apis := serve(t, gcpsim.NewAPIs(cloud), cloudsim.Options{})
	own := metadata(gcpsim.Instance{Project: "vault-prod", Zone: "europe-west1-c", Name: "vault-1", ServiceAccount: cloud.AddServiceAccount("vault-prod", "vault")})
	v := realvault.ForTest(t, realvault.Options{Env: []string{"GCE_METADATA_HOST=" + own}})
	binding := map[string]any{"type": kind, "bound_service_accounts": []string{instance.ServiceAccount}, "bound_projects": []string{"shop-prod"},
		"custom_endpoint": map[string]any{"api": apis, "iam": apis, "crm": apis, "compute": apis + gcpsim.ComputePath}}
	if kind == gcp.GCE {
		binding["bound_zones"] = []string{"europe-west1-b"}
	}
	on := func(i gcpsim.Instance) identity {
		at := metadata(i)
		return func(t *testing.T, role string) (auth.Attestor, error) {
			t.Setenv("GCE_METADATA_HOST", at)
			return gcp.New(gcp.Options{Type: kind, Role: role, IAMCredentials: apis})
		}
	}
	whole(t, v, setting{"identity": "gcp", "binding": map[string]any{"gcp": binding},
		"settings": map[string]any{"gcp": map[string]any{"login": kind}}}, on(instance), on(neighbour))
}
