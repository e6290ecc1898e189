package azurekv_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth/azure"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/azuresim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/azurekv"
)

func TestVersions(t *testing.T) {
	w := newWorld(t)
	first := w.put("db-password", "one")
	second := w.put("db-password", "two")
	for ref, want := range map[string][2]string{
		"azure:shop-kv/db-password":                            {second, mark + "two"},
		"azure:shop-kv/db-password#value":                      {second, mark + "two"},
		"azure:shop-kv/db-password@" + first:                   {first, mark + "one"},
		"azure:shop-kv/db-password@" + strings.ToUpper(second): {second, mark + "two"},
		"azure:shop-kv.vault.azure.net/db-password":            {second, mark + "two"},
		"azure:Shop-KV.Vault.Azure.Net/DB-Password":            {second, mark + "two"},
		"azure:SHOP-kv/db-password":                            {second, mark + "two"},
	} {
		found := w.wants(ref, map[string]string{"value": want[1]})
		if found.Version != want[0] || found.Lease.IssuedAt != w.now || found.Lease.TTL != 0 || found.Ref.String() != parse(t, ref).Whole().String() {
			t.Errorf("%s: version %s, want %s; lease %+v; ref %s", ref, found.Version, want[0], found.Lease, found.Ref)
		}
	}
}

func TestJSON(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		kind, value string
		want        map[string]string
	}{
		"object": {"application/json", `{"user":"shop","password":"a\nb\u00e9","port":5432,"tls":{"on":true},"none":null,"big":12345678901234567890}`,
			map[string]string{"user": "shop", "password": "a\nbé", "port": "5432", "tls": `{"on":true}`, "none": "null", "big": "12345678901234567890"}},
		"charset":     {"Application/JSON; charset=utf-8", `{"user":"shop"}`, map[string]string{"user": "shop"}},
		"list":        {"application/json", `["a"]`, map[string]string{"value": `["a"]`}},
		"empty":       {"application/json", `{}`, map[string]string{"value": `{}`}},
		"broken":      {"application/json", `{"user":`, map[string]string{"value": `{"user":`}},
		"no-type":     {"", `{"user":"shop"}`, map[string]string{"value": `{"user":"shop"}`}},
		"description": {"the shop's; password", "x", map[string]string{"value": "x"}},
		"nothing":     {"", "", map[string]string{"value": ""}},
	} {
		w.vault.Put(name, azuresim.VaultSecret{Value: c.value, ContentType: c.kind})
		w.wants("azure:shop-kv/"+name, c.want)
	}
}

// The token is asked for once, and the vault says once which one it wants.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	w.put("one", "1")
	w.addVault(w.tenant, "other-kv", "").Put("two", azuresim.VaultSecret{Value: "2"})
	for range 3 {
		w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"})
		w.wants("azure:other-kv/two", map[string]string{"value": "2"})
	}
	if n := w.cloud.Count("GET", host+"/secrets/one/"); n != 4 || w.reads() != 3 {
		t.Errorf("3 reads were %d requests, %d with a token", n, w.reads())
	}
	if tokens, instances := w.machine.Count("GET", azuresim.TokenPath), w.machine.Count("GET", azuresim.InstancePath); tokens != 1 || instances != 1 {
		t.Errorf("%d tokens and %d descriptions of the machine were asked for", tokens, instances)
	}
}

func TestClouds(t *testing.T) {
	for cloud, suffix := range map[string]string{
		azuresim.Public: azuresim.PublicVaults, azuresim.Government: azuresim.GovernmentVaults, azuresim.China: azuresim.ChinaVaults,
	} {
		t.Run(cloud, func(t *testing.T) {
			w := newWorldIn(t, cloud)
			w.addVault(w.tenant, "own-kv", "").Put("one", azuresim.VaultSecret{Value: suffix})
			w.wants("azure:own-kv/one", map[string]string{"value": suffix})
			w.wants("azure:own-kv."+suffix+"/one", map[string]string{"value": suffix})
			w.options.DNSSuffix = azuresim.ChinaVaults
			w.provider = w.open(w.options)
			w.wants("azure:own-kv."+suffix+"/one", map[string]string{"value": suffix})
			if suffix != azuresim.ChinaVaults {
				w.fails("azure:own-kv/one", providers.ErrUnavailable, "own-kv.vault.azure.cn")
			}
		})
	}
}

// Without anybody to ask, the public cloud is meant.
func TestDefaults(t *testing.T) {
	w := newWorldIn(t, azuresim.China)
	w.addVault(w.tenant, "shop-kv", azuresim.PublicVaults).Put("one", azuresim.VaultSecret{Value: mark + "1"})
	w.options.FindDNSSuffix, w.options.Now = nil, nil
	w.provider = w.open(w.options)
	if found := w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"}); found.Lease.IssuedAt.IsZero() {
		t.Error("nobody looked at the clock")
	}
	for want, o := range map[string]azurekv.Options{
		"there is none to ask":                     {},
		`"https://vault" of the key vaults: write`: {Credential: w.options.Credential, DNSSuffix: "https://vault"},
	} {
		if _, err := azurekv.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func TestWhatIsNoRef(t *testing.T) {
	w := newWorld(t)
	v := strings.Repeat("0", 32)
	for ref, want := range map[string]string{
		"azure:shop-kv":                             "a slash and the name of a secret, as in azure:shop-kv/db-password",
		"azure:shop-kv/db/password":                 "a slash and the name of a secret",
		"azure:shop-kv/db/" + v:                     "a version follows an @",
		"azure:shop-kv/db?a=b":                      "takes no parameters",
		"azure:shop-kv/db_password":                 `the secret name "db_password": Key Vault has names of 1 to 127 letters (a-z), digits and dashes`,
		"azure:shop-kv/" + strings.Repeat("x", 128): "1 to 127 letters",
		"azure:shop-kv/p%C3%A4ss":                   "letters (a-z)",
		"azure:shop-kv/db@7":                        `the version "7": Key Vault has versions of 32 hex digits`,
		"azure:sh/db":                               `the vault name "sh": Key Vault has names of 3 to 24 letters`,
		"azure:1shop/db":                            "beginning with a letter",
		"azure:shop-/db":                            "single dashes",
		"azure:shop--kv/db":                         "single dashes",
		"azure:shop%40evil/db":                      "names of 3 to 24",
		"azure:shop-kv.evil.example/db":             `"evil.example" is no cloud's DNS suffix of key vaults (vault.azure.net, `,
		"azure:a.shop-kv.vault.azure.net/db":        "no cloud's DNS suffix",
		"azure:shop-kv.vault.azure.net:8443/db":     "no cloud's DNS suffix",
		"azure:shop-hsm.managedhsm.azure.net/key":   "a managed HSM keeps keys and no secrets",
	} {
		w.fails(ref, providers.ErrInvalid, want)
	}
	if n := w.machine.Count("", azuresim.InstancePath); n != 0 {
		t.Errorf("%d requests for what is no ref", n)
	}
}

// The credential of the host is what reads, whichever of its identities it is.
func TestIdentities(t *testing.T) {
	w := newWorld(t)
	w.put("one", "1")
	deploy := w.tenant.AddIdentity(subscription, "shared", "deploy")
	w.machine.SetIdentities(append(w.machine.Identities(), deploy)...)
	credential, err := azure.HostCredential(azure.Options{ClientID: deploy.ClientID, Endpoint: serve(t, w.machine, cloudsim.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	w.options.Credential = credential
	w.provider = w.open(w.options)
	w.fails("azure:shop-kv/one", providers.ErrDenied, "object ID "+deploy.PrincipalID)
	w.vault.Grant(deploy.PrincipalID, "one")
	w.wants("azure:shop-kv/one", map[string]string{"value": mark + "1"})
	w.fails("azure:shop-kv/two", providers.ErrDenied, "object ID "+deploy.PrincipalID)
}

// gate holds requests for tokens back.
type gate struct {
	http.Handler
	arrived, open chan struct{}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == azuresim.TokenPath {
		g.arrived <- struct{}{}
		<-g.open
	}
	g.Handler.ServeHTTP(w, r)
}

// A caller waits for a token no longer than it wants to, also when another
// asked for it who waits longer.
func TestWaitingForAToken(t *testing.T) {
	w := newWorld(t)
	w.put("one", "1")
	service := &gate{w.machine, make(chan struct{}), make(chan struct{})}
	credential, err := azure.HostCredential(azure.Options{Endpoint: serve(t, service, cloudsim.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	w.options.Credential = credential
	w.provider = w.open(w.options)
	patient, impatient := make(chan error), make(chan error)
	fetch := func(ctx context.Context, done chan error) {
		_, err := w.provider.Fetch(ctx, parse(t, "azure:shop-kv/one"))
		done <- err
	}
	go fetch(t.Context(), patient)
	<-service.arrived
	ctx, cancel := context.WithCancel(t.Context())
	go fetch(ctx, impatient)
	cancel()
	checkError(t, <-impatient, providers.ErrUnavailable, "waiting for a token", "canceled")
	close(service.open)
	if err := <-patient; err != nil {
		t.Error(err)
	}
}
