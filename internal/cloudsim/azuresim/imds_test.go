package azuresim_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

func TestTokensForTheOfficialClient(t *testing.T) {
	w := newWorld(t)
	deploy := w.tenant.AddIdentity(subscription, "shared", "deploy")
	both := machine("web-1", deploy)
	both.SystemAssigned = true
	service := w.tenant.AddMachine(both)
	url := start(t, service, cloudsim.Options{})
	own := service.Identities()[0]
	const vm = "/subscriptions/" + subscription + "/resourcegroups/shop/providers/Microsoft.Compute/virtualMachines/web-1"
	const identity = "/subscriptions/" + subscription + "/resourcegroups/shared/providers/Microsoft.ManagedIdentity/userAssignedIdentities/deploy"
	for name, c := range map[string]struct {
		id       azidentity.ManagedIDKind
		want     azuresim.Identity
		mirid    string
		resource any // where a user-assigned identity is used
	}{
		"system-assigned": {nil, own, vm, nil},
		"by client ID":    {azidentity.ClientID(deploy.ClientID), deploy, identity, vm},
		"by object ID":    {azidentity.ObjectID(deploy.PrincipalID), deploy, identity, vm},
		"by resource ID":  {azidentity.ResourceID(deploy.ResourceID), deploy, identity, vm},
		"its own by ID":   {azidentity.ClientID(own.ClientID), own, vm, nil},
	} {
		token, err := managed(t, url, c.id, manager)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		claims := w.verified(t, token.Token)
		for claim, want := range map[string]any{
			"aud": manager, "tid": tenantID, "oid": c.want.PrincipalID, "sub": c.want.PrincipalID, "appid": c.want.ClientID, "ver": "1.0",
			"xms_mirid": c.mirid, "xms_az_rid": c.resource, "exp": float64(w.clock.now().Add(24 * time.Hour).Unix()),
		} {
			if claims[claim] != want {
				t.Errorf("%s: %s is %v, want %v", name, claim, claims[claim], want)
			}
		}
	}
}

func TestWhichIdentity(t *testing.T) {
	w := newWorld(t)
	one, two := w.tenant.AddIdentity(subscription, "shop", "one"), w.tenant.AddIdentity(subscription, "shop", "two")
	service := w.tenant.AddMachine(machine("web-1", one, two))
	url := start(t, service, cloudsim.Options{}) + tokenURL
	for name, c := range map[string]struct {
		identities []azuresim.Identity
		query      string
		status     int
		want       string
	}{
		"none":    {nil, "", 400, "Identity not found"},
		"one":     {[]azuresim.Identity{two}, "", 200, two.ClientID},
		"several": {[]azuresim.Identity{one, two}, "", 400, "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"},
		"named":   {[]azuresim.Identity{one, two}, "&client_id=" + two.ClientID, 200, two.ClientID},
		"by path": {[]azuresim.Identity{one, two}, "&msi_res_id=" + two.ResourceID, 200, two.ClientID},
		"unknown": {[]azuresim.Identity{one, two}, "&client_id=" + clientID, 400, "Identity not found"},
		"gone":    {[]azuresim.Identity{one}, "&object_id=" + two.PrincipalID, 400, "Identity not found"},
	} {
		service.SetIdentities(c.identities...)
		status, answer := do(t, local(), "GET", url+c.query, "Metadata", "true")
		if got, _ := answer["client_id"].(string); status != c.status || (got != c.want && answer["error_description"] != c.want) {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
}

func TestRequestsThatTheServiceRefuses(t *testing.T) {
	m := machine("web-1")
	m.SystemAssigned = true
	url := start(t, newWorld(t).tenant.AddMachine(m), cloudsim.Options{})
	header := []string{"Metadata", "true"}
	const instanceURL = azuresim.InstancePath + "?api-version=2021-02-01"
	for name, c := range map[string]struct {
		method, path string
		headers      []string
		status       int
		error, says  string
	}{
		"no header":          {"GET", tokenURL, nil, 400, "invalid_request", "Required metadata header not specified"},
		"another header":     {"GET", tokenURL, []string{"Metadata", "yes"}, 400, "invalid_request", "Required metadata header not specified"},
		"forwarded":          {"GET", tokenURL, append(header, "X-Forwarded-For", "10.0.0.1"), 400, "invalid_request", "X-Forwarded-For"},
		"no version":         {"GET", azuresim.TokenPath + "?resource=" + manager, header, 400, "invalid_request", "'api-version' is missing"},
		"no resource":        {"GET", azuresim.TokenPath + "?api-version=2018-02-01", header, 400, "invalid_request", "'resource' is missing"},
		"unknown resource":   {"GET", azuresim.TokenPath + "?api-version=2018-02-01&resource=vault", header, 400, "invalid_resource", "AADSTS500011"},
		"another method":     {"POST", tokenURL, header, 405, "method_not_allowed", ""},
		"instance no header": {"GET", instanceURL, nil, 400, "Bad Request. Required metadata header not specified", ""},
		"instance forwarded": {"GET", instanceURL, append(header, "X-Forwarded-For", "10.0.0.1"), 400, "Bad Request. Request contains the X-Forwarded-For header, which is not allowed", ""},
		"instance version":   {"GET", azuresim.InstancePath, header, 400, "Bad Request. Required query variable 'api-version' is missing", ""},
		"another path":       {"GET", "/latest/meta-data/", header, 404, "Not Found. The requested resource was not found", ""},
	} {
		status, answer := do(t, local(), c.method, url+c.path, c.headers...)
		description, _ := answer["error_description"].(string)
		if status != c.status || answer["error"] != c.error || !strings.Contains(description, c.says) {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	for _, resource := range []string{"https://vault.internal", "api://vault", clientID} {
		if status, answer := do(t, local(), "GET", url+azuresim.TokenPath+"?api-version=2018-02-01&resource="+resource, header...); status != 200 {
			t.Errorf("%s: %d %v", resource, status, answer)
		}
	}
}

func TestInstanceMetadata(t *testing.T) {
	w := newWorld(t)
	uniform, flexible, sovereign := machine("web_7"), machine("api_f9ae3d85"), machine("web-1")
	uniform.ScaleSet, flexible.ScaleSet, flexible.Flexible, sovereign.Environment = "web", "api", true, "AzureChinaCloud"
	for name, c := range map[string]struct {
		machine azuresim.Machine
		want    map[string]any
	}{
		"alone":    {machine("web-1"), map[string]any{"name": "web-1", "vmScaleSetName": "", "resourceId": compute + "virtualMachines/web-1", "azEnvironment": "AzurePublicCloud"}},
		"uniform":  {uniform, map[string]any{"name": "web_7", "vmScaleSetName": "web", "resourceId": compute + "virtualMachineScaleSets/web/virtualMachines/7", "azEnvironment": "AzurePublicCloud"}},
		"flexible": {flexible, map[string]any{"name": "api_f9ae3d85", "vmScaleSetName": "api", "resourceId": compute + "virtualMachines/api_f9ae3d85", "azEnvironment": "AzurePublicCloud"}},
		"china":    {sovereign, map[string]any{"name": "web-1", "vmScaleSetName": "", "resourceId": compute + "virtualMachines/web-1", "azEnvironment": "AzureChinaCloud"}},
	} {
		url := start(t, w.tenant.AddMachine(c.machine), cloudsim.Options{})
		status, document := do(t, local(), "GET", url+"/metadata/instance?api-version=2021-02-01", "Metadata", "true")
		told, _ := document["compute"].(map[string]any)
		maps.Copy(c.want, map[string]any{"subscriptionId": subscription, "resourceGroupName": "shop", "location": "westeurope"})
		for field, want := range c.want {
			if told[field] != want {
				t.Errorf("%s: %d, %s is %v, want %v", name, status, field, told[field], want)
			}
		}
		if told["vmId"] == "" {
			t.Errorf("%s: no vmId", name)
		}
	}
}

// TestWholeDocument asks as cloud-init's data source does, and as the parts are
// documented.
func TestWholeDocument(t *testing.T) {
	m := machine("web-1")
	m.Tags, m.UserData, m.MAC = map[string]string{"team": "shop;front", "a": "1"}, "#cloud-config\n{}\n", "52:54:00:12:34:56"
	service := newWorld(t).tenant.AddMachine(m)
	url := start(t, service, cloudsim.Options{}) + azuresim.InstancePath
	_, document := do(t, local(), "GET", url+"?api-version=2021-08-01&extended=true", "Metadata", "true")
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"computerName":"web-1"`, `"disablePasswordAuthentication":"true"`, `"publicKeys":[]`, `"macAddress":"525400123456"`,
		`"tags":"a:1;team:shop;front"`, `"tagsList":[{"name":"a","value":"1"},{"name":"team","value":"shop;front"}]`, `"userData":"I2Nsb3VkLWNvbmZpZwp7fQo="`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("without %s: %s", want, text)
		}
	}
	for path, want := range map[string]string{
		"/compute/userData?api-version=2021-01-01&format=text":         "I2Nsb3VkLWNvbmZpZwp7fQo=",
		"/compute/tagsList/1/value?api-version=2021-02-01&format=text": "shop;front",
		"/compute/userData?api-version=2020-09-01&format=text":         `{"error":"Not Found. The requested resource was not found"}` + "\n",
	} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Metadata", "true")
		response, err := local().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(content) != want {
			t.Errorf("%s: %q, %v", path, content, err)
		}
	}
	service.SetTags(nil)
	service.SetUserData("")
	_, changed := do(t, local(), "GET", url+"/compute?api-version=2021-02-01", "Metadata", "true")
	if list, _ := changed["tagsList"].([]any); len(list) != 0 || changed["userData"] != "" {
		t.Errorf("%v", changed)
	}
}

func TestSwitches(t *testing.T) {
	w := newWorld(t)
	m := machine("web-1")
	m.SystemAssigned = true
	service := w.tenant.AddMachine(m)
	url := start(t, service, cloudsim.Options{}) + tokenURL
	ask := func() map[string]any {
		t.Helper()
		status, answer := do(t, local(), "GET", url, "Metadata", "true")
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		return w.verified(t, answer["access_token"].(string))
	}
	at := func(by time.Duration) float64 { return float64(w.clock.now().Add(by).Unix()) }
	service.SetAudience("https://graph.microsoft.com/")
	if got := ask()["aud"]; got != "https://graph.microsoft.com/" {
		t.Errorf("the audience is %v", got)
	}
	service.SetAudience("")
	service.SetSkew(time.Hour)
	if got := ask(); got["aud"] != manager || got["nbf"] != at(55*time.Minute) || got["exp"] != at(25*time.Hour) {
		t.Errorf("an hour ahead: %v", got)
	}
	service.SetSkew(0)
	service.SetLifetime(-time.Minute)
	if got := ask(); got["exp"] != at(-time.Minute) || got["nbf"].(float64) >= got["exp"].(float64) {
		t.Errorf("ended: %v", got)
	}
	for want, fault := range map[int]cloudsim.Fault{429: azuresim.Throttled, 410: azuresim.Updating, 403: azuresim.Foreign} {
		service.Set(azuresim.TokenPath, fault)
		if status, _ := do(t, local(), "GET", url, "Metadata", "true"); status != want {
			t.Errorf("%d instead of %d", status, want)
		}
	}
	service.Clear(azuresim.TokenPath)
	ask()
	if n := service.Count("GET", azuresim.TokenPath); n != 7 {
		t.Errorf("counted %d", n)
	}
}

// Faults have a date, too.
func TestDate(t *testing.T) {
	w := newWorld(t)
	service := w.tenant.AddMachine(machine("web-1"))
	url := start(t, service, cloudsim.Options{}) + azuresim.InstancePath
	want := func(date string) {
		t.Helper()
		answer, err := local().Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if got := answer.Header.Get("Date"); got != date {
			t.Errorf("the date is %q, want %q", got, date)
		}
	}
	for _, fault := range []cloudsim.Fault{{}, azuresim.Throttled} {
		service.Set("", fault)
		for _, by := range []time.Duration{time.Hour, 0} {
			service.SetSkew(by)
			want(w.clock.now().Add(by).UTC().Format(http.TimeFormat))
		}
	}
	service.SetUndated(true)
	want("")
}
