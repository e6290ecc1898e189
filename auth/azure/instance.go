package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// instancePath asks for what Vault wants to know of the machine, in a version
// that every cloud has ("Azure Instance Metadata Service").
const instancePath = "/metadata/instance?api-version=2021-02-01"

// instance is what the metadata service says of this machine.
type instance struct {
	Cloud         string `json:"azEnvironment"`
	Location      string `json:"location"`
	Name          string `json:"name"`
	ResourceGroup string `json:"resourceGroupName"`
	ResourceID    string `json:"resourceId"`
	ScaleSet      string `json:"vmScaleSetName"`
	Subscription  string `json:"subscriptionId"`
}

// instance asks which machine this is.
func (m *metadata) instance(ctx context.Context) (instance, error) {
	const doing = "reading the instance metadata"
	var document struct{ Compute instance }
	if err := m.ask(ctx, doing, instancePath, &document); err != nil {
		return instance{}, err
	}
	found := document.Compute
	if found.Subscription == "" || found.ResourceGroup == "" || found.Name == "" {
		return instance{}, fmt.Errorf("%s from %s: something else answers there: what it gives does not name a VM: %w",
			doing, m.where(), auth.ErrNoIdentity)
	}
	return found, nil
}

// ask reads a document of the service.
func (m *metadata) ask(ctx context.Context, doing, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, linkLocal+path, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	request.Header.Set("Metadata", "true")
	response, err := m.Do(request)
	if err != nil {
		return m.explain(ctx, doing, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return m.explain(ctx, doing, errors.Join(err, m.last.problem()))
	}
	if err := json.Unmarshal(content, into); err != nil {
		return m.explain(ctx, doing, err)
	}
	return nil
}

// String is a few words for people.
func (i instance) String() string {
	what := "VM " + i.Name
	if i.ScaleSet != "" {
		what += " of scale set " + i.ScaleSet
	}
	return fmt.Sprintf("%s in resource group %s of subscription %s (%s)", what, i.ResourceGroup, i.Subscription, i.Location)
}

// login says which machine Vault should look for. In a scale set that is the
// set, because Vault's roles know no machines of it.
func (i instance) login() map[string]secret.Value {
	fields := map[string]secret.Value{
		"subscription_id":     text(i.Subscription),
		"resource_group_name": text(i.ResourceGroup),
		"resource_id":         text(i.ResourceID),
	}
	switch {
	case i.ScaleSet != "":
		fields["vmss_name"] = text(i.ScaleSet)
	case unicode.IsLetter(rune(i.Name[0])): // Azure allows a digit, Vault does not, but then takes the resource ID
		fields["vm_name"] = text(i.Name)
	}
	return fields
}

// The names that the metadata service has for sovereign clouds, and where each
// has what the public cloud has elsewhere ("Azure Government endpoint
// mapping", "Azure China: check endpoints").
const (
	government = "AzureUSGovernmentCloud"
	china      = "AzureChinaCloud"
)

var (
	managers = map[string]string{
		government: "https://management.usgovcloudapi.net/",
		china:      "https://management.chinacloudapi.cn/",
	}
	keyVaults = map[string]string{
		government: "vault.usgovcloudapi.net",
		china:      "vault.azure.cn",
	}
)

// manager is the address of Azure Resource Manager, which is the resource that
// Vault's documentation configures, in the machine's own cloud.
func (i instance) manager() string {
	return cmp.Or(managers[i.Cloud], "https://management.azure.com/")
}

// keyVaults is the DNS suffix of the key vaults in the machine's own cloud.
func (i instance) keyVaults() string {
	return cmp.Or(keyVaults[i.Cloud], "vault.azure.net")
}
