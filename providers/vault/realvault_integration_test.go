//go:build integration

package vault_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/vault"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// real is a real Vault with version 2 of the key-value engine at kv and
// version 1 at old, and a provider whose token may read what is below shop.
type real struct {
	*realvault.Vault
	t        *testing.T
	tokens   *tokens
	provider *vault.Provider
}

const shopPolicy = `
path "kv/data/shop/*" { capabilities = ["read"] }
path "old/shop/*"     { capabilities = ["read"] }
`

func newReal(t *testing.T) *real {
	t.Helper()
	r := &real{Vault: realvault.ForTest(t, realvault.Options{TLS: true}), t: t}
	if err := errors.Join(
		r.MountKV(t.Context(), "kv", 2),
		r.MountKV(t.Context(), "old", 1),
		r.WritePolicy(t.Context(), "shop", shopPolicy),
	); err != nil {
		t.Fatal(err)
	}
	r.tokens = &tokens{list: []string{r.token("shop")}}
	_, r.provider = newProvider(t, vaultclient.Config{Address: r.Address(), CAFile: r.CAFile()}, r.tokens, time.Now)
	return r
}

// allow lets the provider's token do more than what shopPolicy says.
func (r *real) allow(rules string) {
	r.t.Helper()
	if err := r.WritePolicy(r.t.Context(), "shop", shopPolicy+rules); err != nil {
		r.t.Fatal(err)
	}
}

// must is for what sets the scene.
func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// has fetches ref, which must be there.
func (r *real) has(ref string) secret.Secret {
	r.t.Helper()
	return must[secret.Secret](r.t)(r.fetch(ref))
}

// issues fails unless the provider says so of ref.
func (r *real) issues(ref string, want bool) {
	r.t.Helper()
	if got, err := r.provider.Issues(r.t.Context(), parse(r.t, ref)); err != nil || got != want {
		r.t.Errorf("%s issues: %v, %v", ref, got, err)
	}
}

func (r *real) token(policy string) string {
	r.t.Helper()
	made, err := r.Client().Auth().Token().CreateWithContext(r.t.Context(), &api.TokenCreateRequest{Policies: []string{policy}})
	if err != nil {
		r.t.Fatal(err)
	}
	return made.Auth.ClientToken
}

// put writes fields to a secret of either mount.
func (r *real) put(mount, name string, fields map[string]any) {
	r.t.Helper()
	var err error
	if mount == "kv" {
		_, err = r.PutKV2(r.t.Context(), mount, name, fields)
	} else {
		err = r.PutKV1(r.t.Context(), mount, name, fields)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *real) fetch(ref string) (secret.Secret, error) {
	r.t.Helper()
	return r.provider.Fetch(r.t.Context(), parse(r.t, ref))
}

func (r *real) wants(ref string, fields map[string]string) {
	r.t.Helper()
	found, err := r.fetch(ref)
	if err != nil {
		r.t.Error(err)
		return
	}
	if got := texts(found); !maps.Equal(got, fields) {
		r.t.Errorf("%s: got  %.300q\nwant %.300q", ref, got, fields)
	}
}

func (r *real) fails(ref string, kind error, texts ...string) {
	r.t.Helper()
	_, err := r.fetch(ref)
	if err == nil {
		r.t.Errorf("%s: no error", ref)
		return
	}
	checkError(r.t, err, kind, append(texts, r.Address())...)
	if strings.Contains(err.Error(), "hvs.") {
		r.t.Errorf("a token is in: %v", err)
	}
}

// requests is how often the server was really asked.
func (r *real) requests(path string) int {
	r.t.Helper()
	n, err := r.Requests(path, "read")
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func TestRealVaultReads(t *testing.T) {
	r := newReal(t)
	for _, mount := range []string{"kv", "old"} {
		r.put(mount, "shop/db", kinds)
		for range 10 {
			r.wants("vault:"+mount+"/shop/db#text", delivered)
		}
	}
	for path, want := range map[string]int{
		"kv/data/shop/db": 10, "old/shop/db": 10,
		"sys/internal/ui/mounts/kv/shop/db": 1, "sys/internal/ui/mounts/old/shop/db": 1,
	} {
		if got := r.requests(path); got != want {
			t.Errorf("%s was read %d times, want %d", path, got, want)
		}
	}
}

func TestRealVaultNamesThatNeedEncoding(t *testing.T) {
	r := newReal(t)
	for _, mount := range []string{"kv", "old"} {
		for _, name := range []string{"shop/a b", "shop/ä", "shop/50%", "shop/a?b#c@d", "shop/a%2Fb", "shop/x+y&z=*"} {
			r.put(mount, name, map[string]any{"name": name})
			ref := secret.Ref{Provider: "vault", Path: mount + "/" + name}
			r.wants(ref.String(), map[string]string{"name": name})
		}
	}
}

func TestRealVaultVersions(t *testing.T) {
	r := newReal(t)
	for n := 1; n <= 4; n++ {
		r.put("kv", "shop/db", map[string]any{"password": fmt.Sprint(mark, n)})
	}
	found, err := r.fetch("vault:kv/shop/db")
	if err != nil || found.Version != "4" || texts(found)["password"] != mark+"4" {
		t.Errorf("version %q, %v", found.Version, err)
	}
	kv := r.Client().KVv2("kv")
	if err := errors.Join(
		kv.DeleteVersions(t.Context(), "shop/db", []int{2}),
		kv.Destroy(t.Context(), "shop/db", []int{3}),
		kv.Delete(t.Context(), "shop/db"), // the newest
	); err != nil {
		t.Fatal(err)
	}
	r.wants("vault:kv/shop/db@1", map[string]string{"password": mark + "1"})
	r.fails("vault:kv/shop/db@2", providers.ErrNotFound, "kv/data/shop/db in version 2 was deleted")
	r.fails("vault:kv/shop/db@3", providers.ErrNotFound, "kv/data/shop/db in version 3 was deleted")
	r.fails("vault:kv/shop/db@4", providers.ErrNotFound, "kv/data/shop/db in version 4 was deleted")
	r.fails("vault:kv/shop/db", providers.ErrNotFound, "kv/data/shop/db was deleted")
	r.fails("vault:kv/shop/db@5", providers.ErrNotFound, "there is nothing at kv/data/shop/db in version 5")
	r.put("old", "shop/db", map[string]any{"password": mark})
	r.fails("vault:old/shop/db@1", providers.ErrInvalid, "the mount old/ is of version 1", "leave out @1")
}

func TestRealVaultRefuses(t *testing.T) {
	r := newReal(t)
	for _, mount := range []string{"kv", "old"} {
		r.put(mount, "other/db", map[string]any{"password": mark})
		r.fails("vault:"+mount+"/other/db", providers.ErrDenied, "other/db", "Vault denies it (403)", "permission denied")
		r.fails("vault:"+mount+"/shop/none", providers.ErrNotFound, "there is nothing at "+mount+"/", "shop/none")
	}
	r.fails("vault:nowhere/db", providers.ErrDenied, "nowhere/db", "preflight capability check returned 403")
	r.fails("vault:kv", providers.ErrInvalid, "kv names a mount, not a secret below it")
	r.fails("vault:cubbyhole/x", providers.ErrInvalid, `the mount cubbyhole/ is of type "cubbyhole"`)

	r.tokens.list = []string{"hvs.dead"}
	r.fails("vault:kv/shop/none", providers.ErrDenied, "invalid token")
	r.tokens.list = []string{"hvs.dead", r.token("shop")}
	r.fails("vault:kv/shop/none", providers.ErrNotFound)
}

// The largest value that is delivered to a container.
func TestRealVaultLargeValue(t *testing.T) {
	r := newReal(t)
	large := strings.Repeat("x", secret.MaxValueSize)
	for _, mount := range []string{"kv", "old"} {
		r.put(mount, "shop/large", map[string]any{"v": large})
		r.wants("vault:"+mount+"/shop/large", map[string]string{"v": large})
	}
}

// A mount is replaced by one of the other version, under a provider that has
// read from it.
func TestRealVaultReplacedMount(t *testing.T) {
	r := newReal(t)
	r.put("old", "shop/db", map[string]any{"password": mark + "before"})
	r.wants("vault:old/shop/db", map[string]string{"password": mark + "before"})
	if err := r.Client().Sys().UnmountWithContext(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	r.fails("vault:old/shop/db", providers.ErrDenied, "old/shop/db")
	if err := errors.Join(
		r.MountKV(t.Context(), "old", 2),
		r.WritePolicy(t.Context(), "shop", `path "old/data/shop/*" { capabilities = ["read"] }`),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutKV2(t.Context(), "old", "shop/db", map[string]any{"password": mark + "after"}); err != nil {
		t.Fatal(err)
	}
	r.wants("vault:old/shop/db", map[string]string{"password": mark + "after"})
	r.wants("vault:old/shop/db@1", map[string]string{"password": mark + "after"})
}

func TestRealVaultOutage(t *testing.T) {
	r := newReal(t)
	r.put("kv", "shop/db", map[string]any{"password": mark})
	r.wants("vault:kv/shop/db", map[string]string{"password": mark})
	if err := r.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.fails("vault:kv/shop/db", providers.ErrUnavailable, "Vault is sealed", "kv/data/shop/db")
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r.fails("vault:kv/shop/db", providers.ErrUnavailable, "Vault cannot be reached", "kv/data/shop/db")
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wants("vault:kv/shop/db", map[string]string{"password": mark})
}
