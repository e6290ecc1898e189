package azure_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/auth/keyvault"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/test/sealing"
)

// keyed is a machine and a vault with a key that its identity may use.
type keyed struct {
	cloud     *azuresim.Cloud
	machine   *azuresim.IMDS
	vault     *azuresim.Vault
	options   azure.SealerOptions
	principal string
}

func newKeyed(t *testing.T) *keyed {
	t.Helper()
	cloud, err := azuresim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	tenant := cloud.AddTenant(tenantID)
	k := &keyed{cloud: cloud, machine: tenant.AddMachine(web1), vault: tenant.AddVault("shop-kv", "")}
	k.principal = k.machine.Identities()[0].PrincipalID
	k.vault.GrantKeys(k.principal, true)
	key, err := k.vault.AddKey("boot-cache")
	if err != nil {
		t.Fatal(err)
	}
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority.PEM())
	_, address, _ := strings.Cut(serve(t, cloud, cloudsim.Options{Authority: authority, Names: azuresim.Hosts}), "://")
	k.options = azure.SealerOptions{Credential: credentialAt(t, serve(t, k.machine, cloudsim.Options{}), nil), Key: key, Host: "web-1",
		Connection: keyvault.Connection{Authorities: trusted, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}}}
	return k
}

func newSealer(t *testing.T, o azure.SealerOptions) *azure.Sealer {
	t.Helper()
	s, err := azure.NewSealer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// endless is an answer that would do, but for its size.
var endless = cloudsim.Fault{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
	Body: `{"kid":"https://shop-kv.vault.azure.net/keys/boot-cache/0123456789abcdef0123456789abcdef","value":"b2s"` + strings.Repeat(" ", 1<<20) + `}`}

func TestKeyVaultAnswerTooLarge(t *testing.T) {
	k := newKeyed(t)
	k.cloud.Set(k.vault.Host(), endless)
	_, err := newSealer(t, k.options).Seal(t.Context(), []byte("key"))
	if !errors.Is(err, auth.ErrSealUnavailable) || !strings.Contains(err.Error(), "the answer is larger than 64 KiB") || len(err.Error()) > 500 {
		t.Error(err)
	}
}

func TestKeyVaultIsASealer(t *testing.T) {
	k := newKeyed(t)
	other := k.options
	other.Host = "web-2"
	refusal := `{"error":{"code":"Throttled","message":"too many"}}`
	broken := map[string]func() func(){}
	for name, fault := range map[string]cloudsim.Fault{
		"down": {Reset: true}, "throttled": {Status: http.StatusTooManyRequests, Body: refusal}, "failing": {Status: http.StatusInternalServerError},
		"not Azure": {Status: http.StatusOK, Body: "<html>\nhello"}, "a proxy": {Status: http.StatusForbidden, Body: "<html>no"}, "empty": {Status: http.StatusOK, Body: "{}"},
		"endless":                      endless,
		"a challenge without a tenant": {Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {`Bearer authorization="", resource="x"`}}},
		"another kind of challenge":    {Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {`Basic realm="x"`}}},
		"a token refused":              {Status: http.StatusUnauthorized, Body: `{"error":{"code":"Unauthorized","message":"AKV10022: no"}}`},
	} {
		broken[name] = func() func() {
			k.cloud.Set(k.vault.Host(), fault)
			return func() { k.cloud.Clear(k.vault.Host()) }
		}
	}
	network := func(n azuresim.Network) func() func() {
		return func() func() {
			k.vault.SetNetwork(n)
			return func() { k.vault.SetNetwork(azuresim.Open) }
		}
	}
	sealing.Run(t, sealing.World{
		Sealer: newSealer(t, k.options), Other: newSealer(t, other), Break: broken,
		Deny: map[string]func() func(){
			"firewall": network(azuresim.Firewalled), "private": network(azuresim.Private),
			"disabled": func() func() {
				k.vault.DisableKey("boot-cache", true)
				return func() { k.vault.DisableKey("boot-cache", false) }
			},
			"no role": func() func() {
				k.vault.GrantKeys(k.principal, false)
				return func() { k.vault.GrantKeys(k.principal, true) }
			},
		},
	})
}

func TestKeyVaultKeyIsRotated(t *testing.T) {
	k := newKeyed(t)
	s := newSealer(t, k.options)
	sealed, err := s.Seal(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.vault.AddKey("boot-cache"); err != nil {
		t.Fatal(err)
	}
	if opened, err := s.Unseal(t.Context(), sealed); err != nil || string(opened) != "key" {
		t.Errorf("after a new version: %v", err)
	}
	next, err := s.Seal(t.Context(), []byte("key"))
	if err != nil || string(next[:32]) == string(sealed[:32]) {
		t.Errorf("sealed by the old version, %v", err)
	}
}

func TestKeyVaultSaysWhatToDo(t *testing.T) {
	k := newKeyed(t)
	none := k.options
	none.Key = strings.Replace(none.Key, "boot-cache", "none", 1)
	if _, err := newSealer(t, none).Seal(t.Context(), []byte("key")); !errors.Is(err, auth.ErrSealRefused) || !strings.Contains(err.Error(), "az keyvault key create") {
		t.Error(err)
	}
	k.vault.GrantKeys(k.principal, false)
	for model, want := range map[azuresim.AccessModel]string{azuresim.ByRole: "Key Vault Crypto Service Encryption User", azuresim.ByPolicy: "--key-permissions wrapKey unwrapKey"} {
		k.vault.SetAccess(model)
		if _, err := newSealer(t, k.options).Seal(t.Context(), []byte("key")); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), k.principal) {
			t.Error(err)
		}
	}
	for want, o := range map[string]azure.SealerOptions{
		"without a version": {Credential: k.options.Credential, Host: "h", Key: k.options.Key + "/0123456789abcdef0123456789abcdef"},
		"as in https://":    {Credential: k.options.Credential, Host: "h", Key: "http://shop-kv.vault.azure.net/keys/boot-cache"},
		"no name":           {Credential: k.options.Credential, Key: k.options.Key},
		"none to ask":       {Host: "h", Key: k.options.Key},
	} {
		if _, err := azure.NewSealer(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
