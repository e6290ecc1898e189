//go:build vm

package vm_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/test/realvault"
	"github.com/quaymaster/quaymaster/test/vm/machine"
)

func writeFile(dir, name, content string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
}

// TestGCP: cloud-init's own datasource of Google Cloud, and a login as an
// instance.
func TestGCP(t *testing.T) {
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	vaults := serve(t, cloud.AddInstance(gcpsim.Instance{Project: "vault-prod", Zone: "europe-west1-c", Name: "vault-1",
		ServiceAccount: cloud.AddServiceAccount("vault-prod", "vault")}))
	apis := "http://" + serve(t, gcpsim.NewAPIs(cloud))
	o := newOutside(t, "GCE_METADATA_HOST="+vaults)
	email := cloud.AddServiceAccount("shop-prod", role)
	if err := errors.Join(
		o.vault.EnableGCP(t.Context(), realvault.GCPAuth{Mount: "gcp", APIs: apis, Compute: apis + gcpsim.ComputePath}),
		o.vault.WriteGCPRole(t.Context(), realvault.GCPRole{Mount: "gcp", Name: role, Type: "gce", ServiceAccounts: []string{email}, Policies: []string{role}, TTL: hour}),
	); err != nil {
		t.Fatal(err)
	}
	instance := cloud.AddInstance(gcpsim.Instance{Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1", ServiceAccount: email,
		Attributes: map[string]string{"user-data": o.userData(t, vaultBlock(map[string]string{"server_id": ""})+grants)}})

	s := boot(t, machine.Options{Forwards: o.forwards(t, instance),
		Identity: machine.Identity{"type=1,manufacturer=Google,product=Google Compute Engine,serial=GoogleCloud-0123456789ABCDEF0123456789ABCDEF"}})
	s.firstBoot(o, "DataSourceGCE")
	s.isWell()
	s.rebootWithoutVault(o)
}

// TestAzure: the metadata and the identity of a machine in Azure. cloud-init's
// datasource of Azure wants the platform's own server at 168.63.129.16 and a CD,
// which are not here: its user-data comes by NoCloud.
func TestAzure(t *testing.T) {
	const tenantID, subscription, application = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "77777777-2222-3333-4444-555555555555"
	cloud, err := azuresim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	tenant := cloud.AddTenant(tenantID)
	tenant.AddApplication(application, "vault's own")
	host := tenant.AddMachine(azuresim.Machine{Subscription: subscription, ResourceGroup: "shop", Name: "docker-1", Location: "westeurope", SystemAssigned: true, MAC: machine.MAC})
	o := newOutside(t, microsoft(t, cloud)...)
	if err := errors.Join(
		o.vault.EnableAzure(t.Context(), realvault.AzureAuth{Mount: "azure", TenantID: tenantID, Resource: "https://management.azure.com/", ClientID: application, ClientSecret: "vault's own"}),
		o.vault.WriteAzureRole(t.Context(), realvault.AzureRole{Mount: "azure", Name: role, ServicePrincipals: []string{host.Identities()[0].PrincipalID}, Policies: []string{role}, TTL: hour}),
	); err != nil {
		t.Fatal(err)
	}
	s := boot(t, machine.Options{Forwards: o.forwards(t, host), Seed: seed(t, o.userData(t, vaultBlock(map[string]string{"server_id": ""})+grants)),
		Identity: machine.Identity{"type=1,manufacturer=Microsoft Corporation,product=Virtual Machine", "type=3,asset=7783-7084-3265-9085-8269-3286-77"}})
	s.firstBoot(o, "DataSourceNoCloud")
	s.isWell()
	s.rebootWithoutVault(o)
}

// microsoft leads a Vault, in which Microsoft's hosts are hard-coded, to the
// cloud: the environment that it needs.
func microsoft(t *testing.T, cloud *azuresim.Cloud) []string {
	t.Helper()
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server, err := cloudsim.Start(cloud, cloudsim.Options{Authority: authority, Names: azuresim.Hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	dir := t.TempDir()
	if err := writeFile(dir, "ca.pem", string(authority.PEM())); err != nil {
		t.Fatal(err)
	}
	return []string{"HTTPS_PROXY=http://" + serve(t, cloudsim.Proxy{To: strings.TrimPrefix(server.URL(), "https://")}), "SSL_CERT_FILE=" + filepath.Join(dir, "ca.pem")}
}
