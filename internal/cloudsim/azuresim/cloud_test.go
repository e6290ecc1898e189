package azuresim_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

func TestApplicationLogin(t *testing.T) {
	w := newWorld(t)
	token, err := w.application(t.Context(), tenantID, clientID, secret)
	if err != nil {
		t.Fatal(err)
	}
	if claims := w.verified(t, token.Token); claims["aud"] != "https://management.core.windows.net/" || claims["appid"] != clientID || claims["xms_mirid"] != nil {
		t.Errorf("%v", claims)
	}
	for name, c := range map[string]struct{ tenant, client, secret, want string }{
		"wrong secret":        {tenantID, clientID, "wrong", "AADSTS7000215"},
		"unknown application": {tenantID, tenantID, secret, "AADSTS700016"},
		"unknown tenant":      {otherTenant, clientID, secret, "AADSTS90002"},
	} {
		if _, err := w.application(t.Context(), c.tenant, c.client, c.secret); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if status, answer := do(t, w.client, "POST", "https://login.microsoftonline.com/"+tenantID+"/oauth2/v2.0/token"); status != 400 || answer["error"] != "unsupported_grant_type" {
		t.Errorf("an empty form: %d %v", status, answer)
	}
	for _, url := range []string{"https://login.microsoftonline.com/" + tenantID + "/authorize", "https://login.microsoftonline.com/" + tenantID + "/oauth2/v2.0/token"} {
		if status, _ := do(t, w.client, "GET", url); status != 404 {
			t.Errorf("%s: %d", url, status)
		}
	}
}

// bearer logs the application in.
func (w *world) bearer(t *testing.T) string {
	t.Helper()
	token, err := w.application(t.Context(), tenantID, clientID, secret)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token.Token
}

// manage asks Resource Manager.
func (w *world) manage(t *testing.T, authorization, path string) (int, map[string]any) {
	t.Helper()
	return do(t, w.client, "GET", "https://management.azure.com"+path+"?api-version=2022-11-01", "Authorization", authorization)
}

// at finds a value in a document by keys that are separated by a |.
func at(document map[string]any, keys string) any {
	var found any = document
	for key := range strings.SplitSeq(keys, "|") {
		inside, _ := found.(map[string]any)
		found = inside[key]
	}
	return found
}

func TestResources(t *testing.T) {
	w := newWorld(t)
	deploy := w.tenant.AddIdentity(subscription, "shop", "deploy")
	alone, uniform, flexible := machine("web-1", deploy), machine("web_7", deploy), machine("api_f9", deploy)
	alone.SystemAssigned, uniform.SystemAssigned = true, true
	uniform.ScaleSet, flexible.ScaleSet, flexible.Flexible = "web", "api", true
	own := w.tenant.AddMachine(alone).Identities()[0]
	sets := w.tenant.AddMachine(uniform).Identities()[0]
	w.tenant.AddMachine(flexible)
	w.tenant.AddMachine(machine("bare"))
	bearer := w.bearer(t)
	const identities = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
	for _, c := range []struct {
		path, keys string
		want       any
	}{
		{compute + "virtualMachines/web-1", "identity|principalId", own.PrincipalID},
		{compute + "virtualMachines/web-1", "identity|type", "SystemAssigned, UserAssigned"},
		{compute + "virtualMachines/web-1", "location", "westeurope"},
		{strings.ToUpper(compute + "virtualMachines/web-1"), "name", "web-1"},
		{compute + "virtualMachines/web-1", "identity|userAssignedIdentities|" + deploy.ResourceID + "|principalId", deploy.PrincipalID},
		{compute + "virtualMachineScaleSets/web", "identity|principalId", sets.PrincipalID},
		{compute + "virtualMachineScaleSets/web", "properties|orchestrationMode", "Uniform"},
		{compute + "virtualMachineScaleSets/api", "identity|userAssignedIdentities|" + deploy.ResourceID + "|principalId", nil},
		{compute + "virtualMachines/api_f9", "identity|userAssignedIdentities|" + deploy.ResourceID + "|principalId", deploy.PrincipalID},
		{compute + "virtualMachines/bare", "identity", nil},
		{identities + "/deploy", "properties|clientId", deploy.ClientID},
		{"/subscriptions/" + subscription + "/providers/Microsoft.Compute", "namespace", "microsoft.compute"},
	} {
		if status, document := w.manage(t, bearer, c.path); status != 200 || at(document, c.keys) != c.want {
			t.Errorf("%s: %d, %s is %v, want %v", c.path, status, c.keys, at(document, c.keys), c.want)
		}
	}
	if _, list := w.manage(t, bearer, identities); len(list["value"].([]any)) != 1 {
		t.Errorf("%v", list)
	}
	if n := w.cloud.Count("GET", "management.azure.com"+compute+"virtualMachines/web-1"); n != 4 {
		t.Errorf("counted %d", n)
	}
}

func TestResourcesAreGuarded(t *testing.T) {
	w := newWorld(t)
	m := machine("web-1")
	m.SystemAssigned = true
	url := start(t, w.tenant.AddMachine(m), cloudsim.Options{})
	foreign := w.cloud.AddTenant(otherTenant)
	foreign.AddApplication(clientID, secret)
	bearer := w.bearer(t)
	token := func(tenant string) string {
		token, err := w.application(t.Context(), tenant, clientID, secret)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token.Token
	}
	held := func(resource string) string {
		token, err := managed(t, url, nil, resource)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token.Token
	}
	vm := compute + "virtualMachines/web-1"
	for name, c := range map[string]struct {
		authorization, path string
		status              int
		code                string
	}{
		"no token":         {"", vm, 401, "AuthenticationFailed"},
		"no JWT":           {"Bearer hello", vm, 401, "InvalidAuthenticationToken"},
		"tampered":         {bearer[:len(bearer)-8] + "AAAAAAAA", vm, 401, "InvalidAuthenticationToken"},
		"another audience": {held("https://vault.azure.net"), vm, 401, "InvalidAuthenticationToken"},
		"no right":         {held(manager), vm, 403, "AuthorizationFailed"},
		"another tenant":   {token(otherTenant), vm, 404, "SubscriptionNotFound"},
		"no subscription":  {bearer, "/subscriptions/" + clientID + "/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web-1", 404, "SubscriptionNotFound"},
		"no group":         {bearer, strings.Replace(vm, "/shop/", "/lab/", 1), 404, "ResourceGroupNotFound"},
		"no machine":       {bearer, compute + "virtualMachines/web", 404, "ResourceNotFound"},
	} {
		if status, document := w.manage(t, c.authorization, c.path); status != c.status || at(document, "error|code") != c.code {
			t.Errorf("%s: %d %v", name, status, document)
		}
	}
	const host = "https://management.azure.com"
	if status, document := do(t, w.client, "GET", host+vm, "Authorization", bearer); status != 400 || at(document, "error|code") != "MissingApiVersionParameter" {
		t.Errorf("no version: %d %v", status, document)
	}
	if status, _ := do(t, w.client, "DELETE", host+vm+"?api-version=2022-11-01", "Authorization", bearer); status != 405 {
		t.Errorf("DELETE: %d", status)
	}
	w.clock.move(time.Hour)
	if status, _ := w.manage(t, bearer, vm); status != 401 {
		t.Errorf("after its end: %d", status)
	}
}

func TestFaultsByHost(t *testing.T) {
	w := newWorld(t)
	w.cloud.Set("management.azure.com/", cloudsim.Fault{Status: 503})
	if _, err := w.application(t.Context(), tenantID, clientID, secret); err != nil {
		t.Error(err)
	}
	if status, _ := w.manage(t, "", "/subscriptions"); status != 503 {
		t.Errorf("%d", status)
	}
	w.cloud.Clear("management.azure.com/")
	if status, _ := w.manage(t, "", "/subscriptions"); status != 401 {
		t.Errorf("%d", status)
	}
	plain := start(t, w.cloud, cloudsim.Options{})
	if status, _ := do(t, local(), "GET", fmt.Sprint(plain, "/")); status != 404 {
		t.Errorf("another host: %d", status)
	}
}
