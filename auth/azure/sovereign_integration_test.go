//go:build integration

package azure_test

import (
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// A machine in a sovereign cloud logs in to a Vault that is told of that cloud,
// with nothing set on the machine: Vault asks that cloud's Entra ID for keys
// and that cloud's Resource Manager about the machine. A token that is for the
// public cloud's Resource Manager is refused there.
func TestRealVaultInSovereignClouds(t *testing.T) {
	for name, resources := range map[string]string{
		azuresim.Government: "management.usgovcloudapi.net",
		azuresim.China:      "management.chinacloudapi.cn",
	} {
		t.Run(name, func(t *testing.T) {
			cloud, err := azuresim.NewCloudCalled(name, cloudsim.NewEnvironment(nil, nil))
			if err != nil {
				t.Fatal(err)
			}
			w := &world{cloud: cloud, tenant: cloud.AddTenant(tenantID)}
			w.tenant.AddApplication(vaultsClientID, "vault's own")
			w.alone, w.uniform = w.tenant.AddMachine(web1), w.tenant.AddMachine(azuresim.Machine{Subscription: subscription,
				ResourceGroup: "shop", Name: "web_7", ScaleSet: "web", Location: "westeurope", SystemAssigned: true})
			w.vault = startVault(t, cloud, realvault.AzureAuth{Resource: "https://" + resources + "/", Environment: name})
			if err := w.vault.WriteAzureRole(t.Context(), realvault.AzureRole{Mount: "azure", Name: "group", ServicePrincipals: []string{"*"},
				ResourceGroups: []string{"shop"}, Policies: []string{"shop"}, TTL: time.Hour}); err != nil {
				t.Fatal(err)
			}
			w.logsIn(t, on(t, w.alone, ""), "group", "")
			w.logsIn(t, on(t, w.uniform, ""), "group", "")
			w.wantRefusal(t, evidence(t, w.alone, manager), "group", "(500): ", `expected audience "https://`+resources+`/" got ["`+manager+`"]`)
			const machine = "/subscriptions/" + subscription + "/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web-1"
			if n := cloud.Count("GET", resources+machine); n != 1 {
				t.Errorf("%s was asked %d times about web-1", resources, n)
			}
		})
	}
}
