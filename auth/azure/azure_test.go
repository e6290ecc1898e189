package azure_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenantID     = "11111111-2222-3333-4444-555555555555"
	subscription = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	manager      = "https://management.azure.com/"
)

// web1 is a machine with an identity of its own.
var web1 = azuresim.Machine{Subscription: subscription, ResourceGroup: "shop", Name: "web-1", Location: "westeurope", SystemAssigned: true}

func newTenant(t *testing.T) *azuresim.Tenant {
	t.Helper()
	return newTenantAt(t, nil)
}

// newTenantAt has the given clock.
func newTenantAt(t *testing.T, now func() time.Time) *azuresim.Tenant {
	t.Helper()
	cloud, err := azuresim.NewCloud(cloudsim.NewEnvironment(now, rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	return cloud.AddTenant(tenantID)
}

func serve(t *testing.T, handler http.Handler, options cloudsim.Options) string {
	t.Helper()
	server, err := cloudsim.Start(handler, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

// on is an attestor that runs on a machine.
func on(t *testing.T, service *azuresim.IMDS, clientID string) *azure.Attestor {
	t.Helper()
	return newAttestor(t, azure.Options{ClientID: clientID, Endpoint: serve(t, service, cloudsim.Options{})})
}

func newAttestor(t *testing.T, options azure.Options) *azure.Attestor {
	t.Helper()
	attestor, err := azure.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return attestor
}

// fields are what evidence says beside its token.
func fields(evidence auth.Evidence) map[string]string {
	found := map[string]string{}
	for name, value := range evidence.Login {
		if name != "jwt" {
			found[name] = string(value.Reveal()) // to be compared; no secret
		}
	}
	return found
}

// claims are those of the evidence's token.
func claims(t *testing.T, evidence auth.Evidence) map[string]any {
	t.Helper()
	parts := strings.Split(string(evidence.Login["jwt"].Reveal()), ".") // to be looked into
	content, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	var found map[string]any
	if err != nil || json.Unmarshal(content, &found) != nil {
		t.Fatalf("the token has no claims: %v", err)
	}
	return found
}

func TestEvidenceIsTheMachinesIdentity(t *testing.T) {
	tenant := newTenant(t)
	deploy := tenant.AddIdentity(subscription, "shared", "deploy")
	with := func(change func(*azuresim.Machine)) azuresim.Machine {
		m := web1
		change(&m)
		return m
	}
	const group = "/subscriptions/" + subscription + "/resourceGroups/shop/providers/Microsoft.Compute/"
	for name, c := range map[string]struct {
		machine  azuresim.Machine
		clientID string
		which    int    // of the machine's identities
		name, id string // what Vault is told
		says     string
	}{
		"system-assigned": {web1, "", 0, "vm_name=web-1", group + "virtualMachines/web-1", "VM web-1 in resource group shop of subscription " + subscription + " (westeurope)"},
		"the only user-assigned": {with(func(m *azuresim.Machine) { m.SystemAssigned, m.UserAssigned = false, []azuresim.Identity{deploy} }),
			"", 0, "vm_name=web-1", group + "virtualMachines/web-1", "VM web-1 in"},
		"user-assigned by client ID": {with(func(m *azuresim.Machine) { m.UserAssigned = []azuresim.Identity{deploy} }),
			deploy.ClientID, 1, "vm_name=web-1", group + "virtualMachines/web-1", "VM web-1 in"},
		"a name that Vault refuses": {with(func(m *azuresim.Machine) { m.Name = "1-web" }),
			"", 0, "resource_id=" + group + "virtualMachines/1-web", group + "virtualMachines/1-web", "VM 1-web in"},
		"uniform scale set": {with(func(m *azuresim.Machine) { m.Name, m.ScaleSet = "web_7", "web" }),
			"", 0, "vmss_name=web", group + "virtualMachineScaleSets/web/virtualMachines/7", "VM web_7 of scale set web in"},
		"flexible scale set": {with(func(m *azuresim.Machine) { m.Name, m.ScaleSet, m.Flexible = "web_f9ae3d85", "web", true }),
			"", 0, "vmss_name=web", group + "virtualMachines/web_f9ae3d85", "VM web_f9ae3d85 of scale set web in"},
	} {
		t.Run(name, func(t *testing.T) {
			service := tenant.AddMachine(c.machine)
			evidence, err := on(t, service, c.clientID).Attest(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			identity := service.Identities()[c.which]
			if want := "managed identity " + identity.PrincipalID + " on " + c.says; evidence.Method != "azure" || !strings.HasPrefix(evidence.Principal, want) {
				t.Errorf("%s: %s\nwant %s", evidence.Method, evidence.Principal, want)
			}
			key, value, _ := strings.Cut(c.name, "=")
			want := map[string]string{"subscription_id": subscription, "resource_group_name": "shop", "resource_id": c.id, key: value}
			if got := fields(evidence); !maps.Equal(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
			if got := claims(t, evidence); got["oid"] != identity.PrincipalID || got["aud"] != manager || got["iss"] != "https://sts.windows.net/"+tenantID+"/" {
				t.Errorf("the token is %v", got)
			}
		})
	}
}

func TestAudience(t *testing.T) {
	tenant := newTenant(t)
	for _, c := range []struct{ environment, asked, want string }{
		{"AzurePublicCloud", "", manager},
		{"AzureUSGovernmentCloud", "", "https://management.usgovcloudapi.net/"},
		{"AzureChinaCloud", "", "https://management.chinacloudapi.cn/"},
		{"AzureOfTomorrow", "", manager},
		{"AzureUSGovernmentCloud", "https://vault.internal", "https://vault.internal"},
		{"AzurePublicCloud", "api://vault/.default", "api://vault"}, // as azidentity reads scopes
	} {
		machine := web1
		machine.Environment = c.environment
		evidence, err := on(t, tenant.AddMachine(machine), "").Attest(t.Context(), c.asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := claims(t, evidence)["aud"]; got != c.want {
			t.Errorf("%s, %q: the audience is %v", c.environment, c.asked, got)
		}
	}
}

// Microsoft's library would keep a token for its whole life.
func TestEachAttestationAsks(t *testing.T) {
	service := newTenant(t).AddMachine(web1)
	attestor := on(t, service, "")
	var tokens []string
	for range 3 {
		evidence, err := attestor.Attest(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, string(evidence.Login["jwt"].Reveal())) // to be compared
	}
	slices.Sort(tokens)
	if n := service.Count("GET", azuresim.TokenPath); n != 3 || len(slices.Compact(tokens)) != 3 {
		t.Errorf("3 attestations made %d requests", n)
	}
}

func TestNewRefuses(t *testing.T) {
	for want, options := range map[string]azure.Options{
		`the client ID "deploy" of the managed identity: write it as in 0000`: {ClientID: "deploy"},
		`endpoint "169.254.169.254": write it as http://host`:                 {Endpoint: "169.254.169.254"},
		`endpoint "https://metadata": write it as http://host`:                {Endpoint: "https://metadata"},
	} {
		if _, err := azure.New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// Each way in which there is no identity, with what the person reads.
func TestNoEvidence(t *testing.T) {
	const other = "00000000-1111-2222-3333-444444444444"
	set := func(path string, fault cloudsim.Fault) func(*testing.T, *azuresim.IMDS, *azure.Options) {
		return func(_ *testing.T, service *azuresim.IMDS, _ *azure.Options) { service.Set(path, fault) }
	}
	body := func(status int, body string) cloudsim.Fault { return cloudsim.Fault{Status: status, Body: body} }
	tenant := newTenant(t)
	one, two := tenant.AddIdentity(subscription, "shop", "one"), tenant.AddIdentity(subscription, "shop", "two")
	for name, c := range map[string]struct {
		arrange func(*testing.T, *azuresim.IMDS, *azure.Options)
		kind    error
		want    []string
	}{
		"absent": {func(t *testing.T, _ *azuresim.IMDS, o *azure.Options) { o.Endpoint = "http://" + closedPort(t) },
			auth.ErrNoIdentity, []string{"reading the instance metadata from Azure's metadata service at http://127.0.0.1:", "nothing answers", "is this an Azure VM"}},
		"no identity": {func(_ *testing.T, s *azuresim.IMDS, _ *azure.Options) { s.SetIdentities() },
			auth.ErrNoIdentity, []string{"this VM has no managed identity", "az vm identity assign"}},
		"wrong client ID": {func(_ *testing.T, _ *azuresim.IMDS, o *azure.Options) { o.ClientID = other },
			auth.ErrNoIdentity, []string{"does not have the managed identity with client ID " + other, "correct the client ID"}},
		"several identities": {func(_ *testing.T, s *azuresim.IMDS, _ *azure.Options) { s.SetIdentities(one, two) },
			auth.ErrNoIdentity, []string{"several user-assigned identities", "say which one by its client ID"}},
		"elsewhere": {func(t *testing.T, _ *azuresim.IMDS, _ *azure.Options) {
			t.Setenv("MSI_ENDPOINT", "http://127.0.0.1:1/msi")
		},
			auth.ErrNoIdentity, []string{"another service than a VM's metadata service", "unset IDENTITY_ENDPOINT"}},
		"a proxy":          {set("", azuresim.Foreign), auth.ErrNoIdentity, []string{"something else answers there, perhaps a proxy", "(403)"}},
		"another cloud":    {set("", body(401, "<html></html>")), auth.ErrNoIdentity, []string{"another cloud's metadata service (401)"}},
		"something else":   {set("", body(200, "{}")), auth.ErrNoIdentity, []string{"something else answers there", "does not name a VM"}},
		"no token":         {set(azuresim.TokenPath, body(200, `{"access_token":"hello","expires_in":"3600"}`)), auth.ErrNoIdentity, []string{"no token of Entra ID (it has 1 parts, not 3)"}},
		"broken token":     {set(azuresim.TokenPath, body(200, `{"access_token":"a.!.b","expires_in":"3600"}`)), auth.ErrNoIdentity, []string{"not base64url"}},
		"nobody's token":   {set(azuresim.TokenPath, body(200, `{"access_token":"e30.e30.e30","expires_in":"3600"}`)), auth.ErrNoIdentity, []string{"does not say whose it is"}},
		"redirect":         {set("", cloudsim.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}), auth.ErrNoIdentity, []string{"something else answers there", "redirect"}},
		"token redirected": {set(azuresim.TokenPath, cloudsim.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}), auth.ErrNoIdentity, []string{"something else answers there", "redirect"}},
		"too large":        {set("", body(200, strings.Repeat("x", 1<<20))), auth.ErrNoIdentity, []string{"larger than 65536 bytes"}},
		"token too large":  {set(azuresim.TokenPath, body(200, strings.Repeat("x", 1<<20))), auth.ErrNoIdentity, []string{"larger than 65536 bytes"}},
		"refused":          {set(azuresim.TokenPath, body(400, `{"error":"invalid_request","error_description":"Not\ntoday"}`)), auth.ErrNoIdentity, []string{"the metadata service refuses (400): Not today"}},
		"expired": {func(_ *testing.T, s *azuresim.IMDS, _ *azure.Options) { s.SetLifetime(-time.Hour) },
			auth.ErrUnavailable, []string{"that ended at", "Azure has not renewed it yet: "}},
		"slow":               {set("", cloudsim.Fault{Delay: time.Minute}), auth.ErrUnavailable, []string{"did not answer in time"}},
		"token slow":         {set(azuresim.TokenPath, cloudsim.Fault{Delay: time.Minute}), auth.ErrUnavailable, []string{"getting a token", "did not answer in time"}},
		"throttled":          {set(azuresim.TokenPath, azuresim.Throttled), auth.ErrUnavailable, []string{"getting a token", "it limits requests (429)"}},
		"instance throttled": {set("", azuresim.Throttled), auth.ErrUnavailable, []string{"reading the instance", "it limits requests (429)"}},
		"updating":           {set(azuresim.TokenPath, azuresim.Updating), auth.ErrUnavailable, []string{"being updated (410)"}},
		"missing":            {set("", body(404, "")), auth.ErrUnavailable, []string{"it answers 404", "no Azure VM"}},
		"failing":            {set(azuresim.TokenPath, body(500, "")), auth.ErrUnavailable, []string{"it answers 500"}},
		"reset":              {set("", cloudsim.Fault{Reset: true}), auth.ErrUnavailable, []string{"no usable answer", "connection reset"}},
		"token reset":        {set(azuresim.TokenPath, cloudsim.Fault{Reset: true}), auth.ErrUnavailable, []string{"no usable answer", "connection reset"}},
		"half an answer":     {set("", body(200, `{"compute`)), auth.ErrUnavailable, []string{"no usable answer"}},
		"half a token":       {set(azuresim.TokenPath, body(200, `{"access_`)), auth.ErrUnavailable, []string{"no usable answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			service := tenant.AddMachine(web1)
			options := azure.Options{Endpoint: serve(t, service, cloudsim.Options{})}
			c.arrange(t, service, &options)
			_, err := newAttestor(t, options).Attest(t.Context(), "")
			wantError(t, err, c.kind, c.want...)
		})
	}
}

func wantError(t *testing.T, err, kind error, want ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("%v is not %v", err, kind)
	}
	for _, want := range want {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
		t.Errorf("more than a line: %v", err)
	}
}

func TestUnknownAudience(t *testing.T) {
	_, err := on(t, newTenant(t).AddMachine(web1), "").Attest(t.Context(), "vault.internal")
	wantError(t, err, auth.ErrNoIdentity, "for vault.internal: ", "Entra ID knows no such audience", "Vault's azure auth method", "AADSTS500011")
}

func TestGivingUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := on(t, newTenant(t).AddMachine(web1), "").Attest(ctx, "")
	wantError(t, err, auth.ErrUnavailable, "given up")
}

// A metadata service that failed once is asked afresh the next time.
func TestRecovery(t *testing.T) {
	service := newTenant(t).AddMachine(web1)
	attestor := on(t, service, "")
	for _, fault := range []cloudsim.Fault{azuresim.Throttled, azuresim.Foreign, {Reset: true}} {
		service.Set(azuresim.TokenPath, fault)
		if _, err := attestor.Attest(t.Context(), ""); err == nil {
			t.Errorf("%+v: no error", fault)
		}
		if n := service.Count("GET", azuresim.TokenPath); n%2 == 0 {
			t.Errorf("%+v: asked %d times in all", fault, n)
		}
		service.Clear(azuresim.TokenPath)
		if _, err := attestor.Attest(t.Context(), ""); err != nil {
			t.Errorf("after %+v: %v", fault, err)
		}
	}
}

// What is in a token must not be in what people and logs see.
func TestErrorsHideTokens(t *testing.T) {
	service := newTenant(t).AddMachine(web1)
	attestor := on(t, service, "")
	const token = "eyJhbGciOiJub25lIn0.eyJleHAiOjF9.c2VjcmV0"
	for _, body := range []string{`{"access_token":"` + token + `","expires_in":"3600"}`, `{"access_token":"` + token + `"`, token} {
		service.Set(azuresim.TokenPath, cloudsim.Fault{Status: 200, Body: body})
		if _, err := attestor.Attest(t.Context(), ""); err == nil || strings.Contains(err.Error(), "eyJ") || strings.Contains(err.Error(), "c2Vj") {
			t.Errorf("%v", err)
		}
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
