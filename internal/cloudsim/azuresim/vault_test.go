package azuresim_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
)

// reader is a machine with Microsoft's own clients on it.
type reader struct {
	*world
	machine    *azuresim.IMDS
	credential uncached
}

// uncached is Microsoft's credential without the tokens of other tests, which
// it keeps for the whole process. Claims make it ask.
type uncached struct {
	*azidentity.ManagedIdentityCredential
}

func (u uncached) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	o.Claims = "{}"
	return u.ManagedIdentityCredential.GetToken(ctx, o)
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{world: newWorld(t)}
	m := machine("web-1")
	m.SystemAssigned = true
	r.machine = r.tenant.AddMachine(m)
	credential, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: moved{start(t, r.machine, cloudsim.Options{})}, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.credential = uncached{credential}
	return r
}

func (r *reader) get(t *testing.T, v *azuresim.Vault, name, version string) (azsecrets.Secret, error) {
	t.Helper()
	client, err := azsecrets.NewClient("https://"+v.Host(), r.credential, &azsecrets.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: r.client, Retry: policy.RetryOptions{MaxRetries: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.GetSecret(t.Context(), name, version, nil)
	return answer.Secret, err
}

func (r *reader) principal() string { return r.machine.Identities()[0].PrincipalID }

func TestVaultSecrets(t *testing.T) {
	r := newReader(t)
	for _, suffix := range []string{"", azuresim.GovernmentVaults, azuresim.ChinaVaults} {
		v := r.tenant.AddVault("shop-kv", suffix)
		v.Grant(r.principal(), "db")
		from, until := r.clock.now().Add(-time.Hour), r.clock.now().Add(time.Hour)
		first := v.Put("db", azuresim.VaultSecret{Value: "one", ContentType: "text/plain", NotBefore: from, Expires: until})
		second := v.Put("DB", azuresim.VaultSecret{Value: "two", Managed: true})
		found, err := r.get(t, v, "db", "")
		if err != nil {
			t.Fatal(err)
		}
		if *found.Value != "two" || found.ID.Version() != second || found.ContentType != nil || !*found.Managed || !*found.Attributes.Enabled {
			t.Errorf("%s: %+v", suffix, found)
		}
		found, err = r.get(t, v, "Db", first)
		if err != nil {
			t.Fatal(err)
		}
		if *found.Value != "one" || *found.ContentType != "text/plain" || found.Managed != nil || !found.Attributes.NotBefore.Equal(from) || !found.Attributes.Expires.Equal(until) {
			t.Errorf("%s: %+v", suffix, found)
		}
		if n := r.cloud.Count(azuresim.VaultRead, v.Host()); n != 2 {
			t.Errorf("%s: %d reads were counted", suffix, n)
		}
	}
}

// refused checks an answer that is no success, as Microsoft's client reads it.
func refused(t *testing.T, err error, status int, code string, words ...string) {
	t.Helper()
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || answer.StatusCode != status || answer.ErrorCode != code {
		t.Errorf("%v; want %d %s", err, status, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(answer.Error(), word) {
			t.Errorf("%s is not in %v", word, answer)
		}
	}
}

func TestVaultRefusals(t *testing.T) {
	r := newReader(t)
	v := r.tenant.AddVault("shop-kv", "")
	v.Put("db", azuresim.VaultSecret{Value: "one"})
	v.Put("off", azuresim.VaultSecret{Disabled: true})
	v.Put("gone", azuresim.VaultSecret{})
	v.Delete("gone")
	fails := func(name, version string, status int, code string, words ...string) {
		t.Helper()
		_, err := r.get(t, v, name, version)
		refused(t, err, status, code, words...)
	}
	fails("db", "", 403, "Forbidden", "ForbiddenByRbac", "oid="+r.principal())
	v.SetAccess(azuresim.ByPolicy)
	fails("db", "", 403, "Forbidden", "ForbiddenByPolicy", "oid="+r.principal())
	v.Grant(r.principal())
	fails("off", "", 403, "Forbidden", "SecretDisabled")
	fails("gone", "", 404, "SecretNotFound")
	fails("db", strings.Repeat("0", 32), 404, "SecretNotFound")
	fails("db", "7", 400, "BadParameter")
	fails("d_b", "", 400, "BadParameter")
	v.SetNetwork(azuresim.Firewalled)
	fails("db", "", 403, "Forbidden", "ForbiddenByFirewall", "Client address: 198.51.100.7")
	v.SetNetwork(azuresim.Private)
	fails("db", "", 403, "Forbidden", "ForbiddenByConnection")
}

// What a token must be: signed by Entra, for Key Vault, of the vault's tenant,
// and alive.
func TestVaultTokens(t *testing.T) {
	r := newReader(t)
	v := r.tenant.AddVault("shop-kv", "")
	v.Grant(r.principal())
	v.Put("db", azuresim.VaultSecret{Value: "one"})
	foreign := r.cloud.AddTenant(otherTenant).AddVault("other-kv", "")
	token := func(audience string) string {
		found, err := r.credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{audience}})
		if err != nil {
			t.Fatal(err)
		}
		return found.Token
	}
	good := token("https://vault.azure.net")
	ask := func(host, authorization string) (int, string) {
		status, document := do(t, r.client, "GET", "https://"+host+"/secrets/db?api-version=7.4", "Authorization", authorization)
		message, _ := at(document, "error|message").(string)
		return status, message
	}
	for name, c := range map[string]struct {
		host, authorization string
		status              int
		says                string
	}{
		"good":             {v.Host(), "Bearer " + good, 200, ""},
		"none":             {v.Host(), "", 401, "AKV10000"},
		"tampered":         {v.Host(), "Bearer " + good[:len(good)-8] + "AAAAAAAA", 401, "AKV10022"},
		"another audience": {v.Host(), "Bearer " + token(manager), 401, "AKV10022"},
		"another cloud's":  {v.Host(), "Bearer " + token("https://vault.azure.cn"), 401, "AKV10022"},
		"another tenant's": {foreign.Host(), "Bearer " + good, 401, "AKV10032"},
	} {
		if status, message := ask(c.host, c.authorization); status != c.status || !strings.Contains(message, c.says) {
			t.Errorf("%s: %d %s", name, status, message)
		}
	}
	if status, _ := do(t, r.client, "GET", "https://"+v.Host()+"/secrets/db", "Authorization", "Bearer "+good); status != 400 {
		t.Errorf("no version of the API: %d", status)
	}
	if status, _ := do(t, r.client, "DELETE", "https://"+v.Host()+"/secrets/db?api-version=7.4", "Authorization", "Bearer "+good); status != 404 {
		t.Errorf("DELETE: %d", status)
	}
	r.clock.move(25 * time.Hour)
	if status, _ := ask(v.Host(), "Bearer "+good); status != 401 {
		t.Errorf("after its end: %d", status)
	}
}
