//go:build integration

package azure_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

const (
	otherTenantID     = "99999999-2222-3333-4444-555555555555"
	otherSubscription = "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee"
	vaultsClientID    = "77777777-2222-3333-4444-555555555555"
)

// world is a tenant of Azure with machines, and a real Vault whose real azure
// auth method asks that tenant.
type world struct {
	cloud  *azuresim.Cloud
	tenant *azuresim.Tenant
	vault  *realvault.Vault
	deploy azuresim.Identity // lies in another resource group than any machine

	alone, second, digit, deployed, both, elsewhere, uniform, flexible, foreign *azuresim.IMDS
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cloud, err := azuresim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{cloud: cloud, tenant: cloud.AddTenant(tenantID)}
	w.tenant.AddApplication(vaultsClientID, "vault's own")
	w.addMachines(cloud.AddTenant(otherTenantID))
	w.vault = startVault(t, cloud, realvault.AzureAuth{Resource: manager})
	w.writeRoles(t)
	return w
}

func (w *world) addMachines(other *azuresim.Tenant) {
	w.deploy = w.tenant.AddIdentity(subscription, "shared", "deploy")
	add := func(change func(*azuresim.Machine)) *azuresim.IMDS {
		m := web1
		change(&m)
		return w.tenant.AddMachine(m)
	}
	deploy := []azuresim.Identity{w.deploy}
	w.alone = w.tenant.AddMachine(web1)
	w.second = add(func(m *azuresim.Machine) { m.Name = "web-2" })
	w.digit = add(func(m *azuresim.Machine) { m.Name = "1-web" })
	w.deployed = add(func(m *azuresim.Machine) { m.Name, m.SystemAssigned, m.UserAssigned = "web-3", false, deploy })
	w.both = add(func(m *azuresim.Machine) { m.Name, m.UserAssigned = "web-4", deploy })
	w.elsewhere = add(func(m *azuresim.Machine) {
		m.Subscription, m.ResourceGroup, m.Location = otherSubscription, "lab", "northeurope"
	})
	w.uniform = add(func(m *azuresim.Machine) { m.Name, m.ScaleSet = "web_7", "web" })
	w.flexible = add(func(m *azuresim.Machine) {
		m.Name, m.ScaleSet, m.Flexible, m.SystemAssigned, m.UserAssigned = "api_f9ae3d85", "api", true, false, deploy
	})
	w.foreign = other.AddMachine(web1)
}

// startVault leads Vault, which has Microsoft's hosts hard-coded, to the cloud.
// It fills in what all tests have the same.
func startVault(t *testing.T, cloud *azuresim.Cloud, method realvault.AzureAuth) *realvault.Vault {
	t.Helper()
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	microsoft := serve(t, cloud, cloudsim.Options{Authority: authority, Names: azuresim.Hosts})
	proxy := serve(t, cloudsim.Proxy{To: strings.TrimPrefix(microsoft, "https://")}, cloudsim.Options{})
	v := realvault.ForTest(t, realvault.Options{Env: []string{"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + ca}})
	ctx := t.Context()
	method.Mount, method.TenantID, method.ClientID, method.ClientSecret = "azure", tenantID, vaultsClientID, "vault's own"
	put := func() error {
		_, err := v.PutKV2(ctx, "kv", "shop/db", map[string]any{"password": "correct horse"})
		return err
	}
	if err := errors.Join(
		v.EnableAzure(ctx, method),
		v.WritePolicy(ctx, "shop", `path "kv/data/shop/*" { capabilities = ["read"] }`),
		v.MountKV(ctx, "kv", 2), put(),
	); err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) writeRoles(t *testing.T) {
	t.Helper()
	everybody := []string{"*"}
	for _, role := range []realvault.AzureRole{
		{Name: "principal", ServicePrincipals: []string{w.alone.Identities()[0].PrincipalID}},
		{Name: "group", ServicePrincipals: everybody, ResourceGroups: []string{"shop"}},
		{Name: "subscription", ServicePrincipals: everybody, Subscriptions: []string{subscription}},
		{Name: "location", ServicePrincipals: everybody, Locations: []string{"westeurope"}},
		{Name: "scale-sets", ServicePrincipals: everybody, ScaleSets: []string{"web", "api"}},
		{Name: "scale-set", ServicePrincipals: everybody, ScaleSets: []string{"web"}},
		{Name: "deploy", ServicePrincipals: []string{w.deploy.PrincipalID}, ResourceGroups: []string{"shop"}},
		{Name: "docker-host", ServicePrincipals: []string{w.alone.Identities()[0].PrincipalID}, Subscriptions: []string{subscription},
			ResourceGroups: []string{"shop"}, Locations: []string{"westeurope"}},
	} {
		role.Mount, role.Policies, role.TTL = "azure", []string{"shop"}, time.Hour
		if err := w.vault.WriteAzureRole(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
}

// client is a client of the agent's kind.
func (w *world) client(t *testing.T) *vaultclient.Client {
	t.Helper()
	client, err := vaultclient.New(vaultclient.Config{Address: w.vault.Address()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// reads fails unless the secret can be read with token.
func reads(t *testing.T, client *vaultclient.Client, token auth.Token) {
	t.Helper()
	answer, err := client.With(token.Value).Logical().ReadWithContext(t.Context(), "kv/data/shop/db")
	if err != nil || answer.Data["data"].(map[string]any)["password"] != "correct horse" {
		t.Errorf("reading a secret: %v, %v", answer, err)
	}
}

// Each login goes the whole way of the agent: evidence, token, secret, renewal.
func TestRealVault(t *testing.T) {
	w := newWorld(t)
	passed := 0
	cases := map[string]struct {
		on             *azuresim.IMDS
		role, clientID string
	}{
		"system-assigned identity, role bound to the principal":    {w.alone, "principal", ""},
		"system-assigned identity, role bound in every way":        {w.alone, "docker-host", ""},
		"system-assigned identity, role bound to the group":        {w.second, "group", ""},
		"system-assigned identity, role bound to subscription":     {w.second, "subscription", ""},
		"system-assigned identity, role bound to the location":     {w.second, "location", ""},
		"a VM name that Vault does not take":                       {w.digit, "group", ""},
		"the only user-assigned identity":                          {w.deployed, "deploy", ""},
		"user-assigned identity by client ID":                      {w.both, "deploy", w.deploy.ClientID},
		"system-assigned identity beside a user-assigned one":      {w.both, "group", ""},
		"uniform scale set, system-assigned":                       {w.uniform, "scale-set", ""},
		"flexible scale set, user-assigned":                        {w.flexible, "scale-sets", ""},
		"flexible scale set, role bound to the deploying identity": {w.flexible, "deploy", ""},
	}
	for name, c := range cases {
		if t.Run(name, func(t *testing.T) { w.logsIn(t, on(t, c.on, c.clientID), c.role, "") }) {
			passed++
		}
	}
	if n := w.cloud.Count("GET", "management.azure.com/subscriptions/"+subscription+"/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web-1"); n != 1 {
		t.Errorf("Vault asked %d times about web-1, want once: the other role is bound to the principal only", n)
	}
	t.Logf("azure auth method of a real Vault: %d logins that must pass, %d passed", len(cases), passed)
}

// A host whose clock is wrong logs in all the same and says that it is. When
// the clock of the metadata service is wrong, Vault refuses and the person reads
// that the two differ.
func TestRealVaultClock(t *testing.T) {
	w := newWorld(t)
	for ahead, remark := range wrongClocks {
		t.Run(ahead.String(), func(t *testing.T) {
			attestor := newAttestor(t, azure.Options{Endpoint: serve(t, w.alone, cloudsim.Options{}), Now: at(ahead)})
			w.logsIn(t, attestor, "docker-host", remark)
		})
	}
	for skew, want := range map[time.Duration][]string{
		-48 * time.Hour: {"oidc: token is expired", " (this host's clock is 48h0m0s ahead: set it"},
		2 * time.Hour:   {"before the nbf (not before) time", " (this host's clock is 2h0m0s behind: set it"},
	} {
		w.alone.SetSkew(skew)
		made, err := on(t, w.alone, "").Attest(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		w.wantRefusal(t, shown(made), "docker-host", want...)
	}
}

// source runs a login of the agent's kind until the test ends, and looks that
// the log has the remark and no token.
func (w *world) source(t *testing.T, client *vaultclient.Client, attestor auth.Attestor, mount, role, remark string) *vaultlogin.Source {
	t.Helper()
	var log bytes.Buffer
	source, err := vaultlogin.New(vaultlogin.Options{Client: client, Attestor: attestor, Mount: mount, Role: role,
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Backoff: lease.Backoff{First: 10 * time.Millisecond, Max: 100 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if strings.Contains(log.String(), "eyJ") || strings.Contains(log.String(), "hvs.") {
			t.Errorf("a token in the log:\n%s", &log)
		}
		if !strings.Contains(log.String(), remark) || (remark == "" && strings.Contains(log.String(), "remark=")) {
			t.Errorf("the log does not say %q of the evidence:\n%s", remark, &log)
		}
	})
	return source
}

func (w *world) logsIn(t *testing.T, attestor auth.Attestor, role, remark string) {
	t.Helper()
	client := w.client(t)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	token, err := w.source(t, client, attestor, "azure", role, remark).Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	reads(t, client, token)
	if _, err := client.With(token.Value).Auth().Token().RenewSelfWithContext(ctx, 0); err != nil {
		t.Errorf("renewing: %v", err)
	}
}

// shown is evidence that was made before, and perhaps changed since.
type shown auth.Evidence

func (s shown) Attest(context.Context, string) (auth.Evidence, error) { return auth.Evidence(s), nil }

// evidence is what a machine shows. It may be ahead of its time, so nobody
// tells the machine what time it is.
func evidence(t *testing.T, on *azuresim.IMDS, audience string) shown {
	t.Helper()
	on.SetUndated(true)
	defer on.SetUndated(false)
	long := func() time.Time { return time.Now().Add(-365 * 24 * time.Hour) }
	attestor := newAttestor(t, azure.Options{Endpoint: serve(t, on, cloudsim.Options{}), Now: long})
	made, err := attestor.Attest(t.Context(), audience)
	if err != nil {
		t.Fatal(err)
	}
	return shown(made)
}

// say changes a field of evidence.
func say(name, content string) func(map[string]secret.Value) {
	return func(login map[string]secret.Value) { login[name] = secret.NewValue([]byte(content)) }
}

// forge changes the parts of a token.
func forge(change func(header, content, signature string) string) func(map[string]secret.Value) {
	return func(login map[string]secret.Value) {
		parts := strings.Split(string(login["jwt"].Reveal()), ".") // to be forged
		login["jwt"] = secret.NewValue([]byte(change(parts[0], parts[1], parts[2])))
	}
}

// replaced is a part of a token with one text in place of another.
func replaced(part, old, by string) string {
	content, _ := base64.RawURLEncoding.DecodeString(part) // of a token that was just made
	return base64.RawURLEncoding.EncodeToString([]byte(strings.ReplaceAll(string(content), old, by)))
}

func signedByAnother(header, content, _ string) string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256([]byte(header + "." + content))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return header + "." + content + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Every refusal, with what Vault answers and the words that a person reads.
func TestRealVaultRefuses(t *testing.T) {
	w := newWorld(t)
	type login = map[string]secret.Value
	plain := func(login) {}
	tampered := forge(func(header, content, signature string) string {
		return header + "." + replaced(content, "web-2", "web-1") + "." + signature
	})
	stranger := func(header, content, signature string) string {
		return header + "." + replaced(content, w.second.Identities()[0].PrincipalID, w.alone.Identities()[0].PrincipalID) + "." + signature
	}
	unsigned := forge(func(header, content, _ string) string { return replaced(header, "RS256", "none") + "." + content + "." })
	refused := 0
	cases := map[string]struct {
		on       *azuresim.IMDS
		role     string
		prepare  func(*azuresim.IMDS)
		change   func(login)
		audience string
		status   int
		want     string
	}{
		"wrong audience":       {on: w.alone, role: "principal", change: plain, audience: "https://vault.azure.net", status: 500, want: `expected audience "https://management.azure.com/" got ["https://vault.azure.net"]`},
		"audience by Azure":    {on: w.alone, role: "principal", change: plain, prepare: func(m *azuresim.IMDS) { m.SetAudience("https://graph.microsoft.com/") }, status: 500, want: `oidc: expected audience "https://management.azure.com/" got ["https://graph.microsoft.com/"]`},
		"expired":              {on: w.alone, role: "principal", change: plain, prepare: func(m *azuresim.IMDS) { m.SetLifetime(-time.Hour) }, status: 500, want: "oidc: token is expired (Token Expiry: "},
		"Azure's clock late":   {on: w.alone, role: "principal", change: plain, prepare: func(m *azuresim.IMDS) { m.SetSkew(-48 * time.Hour) }, status: 500, want: "oidc: token is expired (Token Expiry: "},
		"not yet valid":        {on: w.alone, role: "principal", change: plain, prepare: func(m *azuresim.IMDS) { m.SetSkew(2 * time.Hour) }, status: 500, want: " before the nbf (not before) time: "},
		"another tenant":       {on: w.foreign, role: "group", change: plain, status: 500, want: `oidc: id token issued by a different provider, expected "https://sts.windows.net/11111111-2222-3333-4444-555555555555/" got "https://sts.windows.net/99999999-2222-3333-4444-555555555555/"`},
		"another identity":     {on: w.second, role: "principal", change: plain, status: 500, want: "service principal not authorized: " + w.second.Identities()[0].PrincipalID},
		"tampered machine":     {on: w.second, role: "group", change: tampered, status: 500, want: "failed to verify signature: failed to verify id token signature"},
		"tampered identity":    {on: w.second, role: "principal", change: forge(stranger), status: 500, want: "failed to verify signature: failed to verify id token signature"},
		"unsigned":             {on: w.alone, role: "principal", change: unsigned, status: 500, want: `oidc: malformed jwt: unexpected signature algorithm "none"; expected ["RS256"]`},
		"another's key":        {on: w.alone, role: "principal", change: forge(signedByAnother), status: 500, want: "failed to verify signature: failed to verify id token signature"},
		"no token at all":      {on: w.alone, role: "principal", change: say("jwt", "hello"), status: 500, want: "oidc: malformed jwt: "},
		"spoofed VM":           {on: w.second, role: "group", change: say("vm_name", "web-1"), status: 500, want: "xms_mirid token claim does not match vm_name web-1"},
		"VM that is no more":   {on: w.second, role: "group", change: say("vm_name", "web"), status: 500, want: "unable to retrieve virtual machine metadata: GET https://management.azure.com/subscriptions/"},
		"spoofed resource":     {on: w.digit, role: "group", change: say("resource_id", "/subscriptions/"+subscription+"/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web-1"), status: 500, want: "neither token object id nor token app id match expected identities"},
		"spoofed set":          {on: w.uniform, role: "scale-sets", change: say("vmss_name", "api"), status: 500, want: "failed to verify uniform vmss claim: xms_mirid token claim does not match vmss_name api"},
		"spoofed group":        {on: w.elsewhere, role: "group", change: say("resource_group_name", "shop"), status: 500, want: "ERROR CODE: ResourceGroupNotFound"},
		"spoofed subscription": {on: w.elsewhere, role: "subscription", change: say("subscription_id", subscription), status: 500, want: "ERROR CODE: ResourceGroupNotFound"},
		"spoofed subscription and group": {on: w.elsewhere, role: "group", change: func(l login) {
			say("subscription_id", subscription)(l)
			say("resource_group_name", "shop")(l)
		}, status: 500, want: "xms_mirid token claim does not match resource_group_name shop"},
		"another group":                 {on: w.elsewhere, role: "group", change: plain, status: 500, want: "resource group not authorized"},
		"another subscription":          {on: w.elsewhere, role: "subscription", change: plain, status: 500, want: "subscription not authorized"},
		"another location":              {on: w.elsewhere, role: "location", change: plain, status: 500, want: "location not authorized"},
		"another scale set":             {on: w.flexible, role: "scale-set", change: plain, status: 500, want: "scale set not authorized"},
		"no scale set":                  {on: w.alone, role: "scale-set", change: plain, status: 500, want: "bound scale set defined but this vm isn't in a scale set"},
		"identity that Azure took away": {on: w.second, role: "group", change: plain, prepare: func(m *azuresim.IMDS) { m.SetIdentities(w.deploy) }, status: 500, want: "neither token object id nor token app id match expected identities"},
		"unknown role":                  {on: w.alone, role: "nobody", change: plain, status: 400, want: `invalid role name "nobody"`},
		"malformed VM":                  {on: w.alone, role: "group", change: say("vm_name", "../web-1"), status: 400, want: `invalid vm name "../web-1"`},
		"malformed group":               {on: w.alone, role: "group", change: say("resource_group_name", "a/b"), status: 400, want: `invalid resource group name "a/b"`},
		"empty token":                   {on: w.alone, role: "principal", change: say("jwt", ""), status: 400, want: "jwt is required"},
	}
	for name, c := range cases {
		ok := t.Run(name, func(t *testing.T) {
			if c.prepare != nil {
				before := c.on.Identities()
				c.prepare(c.on)
				defer func() {
					c.on.SetAudience("")
					c.on.SetSkew(0)
					c.on.SetLifetime(24 * time.Hour)
					c.on.SetIdentities(before...)
				}()
			}
			login := evidence(t, c.on, c.audience)
			c.change(login.Login)
			w.wantRefusal(t, login, c.role, fmt.Sprintf("(%d): ", c.status), c.want)
		})
		if ok {
			refused++
		}
	}
	t.Logf("azure auth method of a real Vault: %d logins that must be refused, %d refused", len(cases), refused)
}

func (w *world) wantRefusal(t *testing.T, login shown, role string, want ...string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	_, err := w.source(t, w.client(t), login, "azure", role, login.Remark).Token(ctx)
	t.Log(err)
	if !errors.Is(err, auth.ErrRefused) {
		t.Fatalf("%v is not %v", err, auth.ErrRefused)
	}
	for _, want := range append(want, `auth method at auth/azure, role "`+role+`": `, " (this host is "+login.Principal+")") {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "eyJ") {
		t.Errorf("a token in %v", err)
	}
}

// Vault answers 500, too, when it cannot ask Azure, or may not: nobody decided
// then. The words tell the one from the other.
func TestRealVaultCannotAsk(t *testing.T) {
	w := newWorld(t)
	const entra, keys, resources = "login.microsoftonline.com/", "login.microsoftonline.com/common/discovery/keys", "management.azure.com/"
	down := cloudsim.Fault{Status: 503, Body: `{"error":{"code":"ServerBusy","message":"try again"}}`}
	for name, c := range map[string]struct {
		prefix string
		fault  cloudsim.Fault
		secret string
		want   string
	}{
		"Entra is down":               {entra, down, "vault's own", "Vault failed (500): 503 Service Unavailable: "},
		"Entra is cut off":            {entra, cloudsim.Fault{Reset: true}, "vault's own", `Vault failed (500): Get "https://login.microsoftonline.com/` + tenantID + `/.well-known/openid-configuration": `},
		"Entra's keys are missing":    {keys, down, "vault's own", "Vault failed (500): failed to verify signature: fetching keys oidc: get keys failed: "},
		"Azure is down":               {resources, down, "vault's own", "RESPONSE 503: 503 Service Unavailable ERROR CODE: ServerBusy"},
		"Azure limits requests":       {resources, cloudsim.Fault{Status: 429, Body: down.Body}, "vault's own", "RESPONSE 429: 429 Too Many Requests"},
		"Azure is cut off":            {resources, cloudsim.Fault{Reset: true}, "vault's own", `unable to retrieve virtual machine metadata: Get "https://management.azure.com/subscriptions/`},
		"Vault's own secret is wrong": {"nowhere", cloudsim.Fault{}, "wrong", "unable to retrieve virtual machine metadata: ClientSecretCredential authentication failed."},
	} {
		t.Run(name, func(t *testing.T) {
			mount := "azure-" + strings.ToLower(strings.NewReplacer(" ", "-", "'", "").Replace(name)) // a new one holds no keys and tokens yet
			if err := errors.Join(
				w.vault.EnableAzure(t.Context(), realvault.AzureAuth{Mount: mount, TenantID: tenantID, Resource: manager, ClientID: vaultsClientID, ClientSecret: c.secret}),
				w.vault.WriteAzureRole(t.Context(), realvault.AzureRole{Mount: mount, Name: "group", ServicePrincipals: []string{"*"}, ResourceGroups: []string{"shop"}}),
			); err != nil {
				t.Fatal(err)
			}
			login := evidence(t, w.alone, "")
			w.cloud.Set(c.prefix, c.fault)
			source := w.source(t, w.client(t), login, mount, "group", "")
			failure := failureOf(t, source)
			t.Log(failure)
			if !errors.Is(failure, auth.ErrUnavailable) || !strings.Contains(failure.Error(), c.want) {
				t.Errorf("%v\nwant %s", failure, c.want)
			}
			w.cloud.Clear(c.prefix)
			if c.secret == "wrong" {
				return
			}
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			if _, err := source.Token(ctx); err != nil {
				t.Errorf("after that: %v", err)
			}
		})
	}
}

// failureOf waits for the first login to fail.
func failureOf(t *testing.T, source *vaultlogin.Source) error {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); source.State().Err == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no failure in half a minute")
		}
	}
	return source.State().Err
}
