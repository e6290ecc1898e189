//go:build integration

package vaultlogin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// delegated is a Delegation over a host's login, both running.
type delegated struct {
	*vaultlogin.Delegation
	host *login
}

// delegate runs a Delegation until the test ends.
func delegate(t *testing.T, v *realvault.Vault, change ...func(*vaultlogin.Options)) *delegated {
	t.Helper()
	host := logIn(t, vaultclient.Config{Address: v.Address()}, change...)
	d, err := vaultlogin.NewDelegation(vaultlogin.DelegationOptions{
		Client: host.client, Host: host.Source, Logger: host.log.logger(), Backoff: lease.Backoff{First: 10 * time.Millisecond, Max: 100 * time.Millisecond},
		Login: func(role string) (*vaultlogin.Source, error) {
			attestor, err := aws.New(aws.Options{})
			if err != nil {
				return nil, err
			}
			options := vaultlogin.Options{Client: host.client, Attestor: attestor, Role: role, Audience: serverID, Logger: host.log.logger()}
			for _, f := range change {
				f(&options)
			}
			options.Role = role
			return vaultlogin.New(options)
		},
	})
	must(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	return &delegated{d, host}
}

// newDelegatingVault lets hosts make child tokens that may read shop/db, and
// narrower ones that may not.
func newDelegatingVault(t *testing.T) *realvault.Vault {
	t.Helper()
	v := newRealVault(t, newCloud(t), realvault.Options{})
	ctx := t.Context()
	must(t, v.WritePolicy(ctx, "delegate", `path "auth/token/create" { capabilities = ["update"] }`))
	must(t, v.WritePolicy(ctx, "cache", `path "kv/data/cache/*" { capabilities = ["read"] }`))
	_, err := v.PutKV2(ctx, "kv", "cache/one", map[string]any{"password": "battery staple"})
	must(t, err)
	delegateTo(t, v, "docker-host", time.Hour, 0, "shop", "cache", "delegate")
	return v
}

// delegateTo writes a role of the host's own principal.
func delegateTo(t *testing.T, v *realvault.Vault, role string, ttl, maxTTL time.Duration, policies ...string) {
	t.Helper()
	must(t, v.WriteIAMRole(t.Context(), realvault.IAMRole{
		Mount: "aws", Name: role, Principal: "arn:aws:iam::111122223333:role/docker-host", Policies: policies, TTL: ttl, MaxTTL: maxTTL,
	}))
}

// timeline is a container as the broker knows it.
func timeline(n int) providers.Client {
	id := fmt.Sprintf("%064d", n)
	return providers.Client{Container: id, Metadata: map[string]string{
		"container_id": id, "container_name": "shop-timeline-1", "image": "shop/timeline:7", "compose_project": "shop", "compose_service": "timeline",
	}}
}

// read reads path once with the token of a source.
func (d *delegated) read(t *testing.T, source auth.TokenSource, path string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	token, err := source.Token(ctx)
	if err != nil {
		return err
	}
	_, err = d.host.client.With(token.Value).Logical().ReadWithContext(ctx, path)
	if failure := vaultclient.Classify(err); failure != nil {
		return failure
	}
	return nil
}

// current is the source's token.
func current(t *testing.T, source auth.TokenSource) auth.Token {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	token, err := source.Token(ctx)
	must(t, err)
	return token
}

// lookUp asks Vault about a token, as its operator.
func lookUp(t *testing.T, v *realvault.Vault, accessor string) (*api.Secret, error) {
	t.Helper()
	return v.Client().Auth().Token().LookupAccessorWithContext(t.Context(), accessor)
}

func wantDenied(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("not denied: %v", err)
	}
}

// Vault's own audit log says for which container a secret was read, and the
// container's token may do no more than its grant says.
func TestRealVaultSeesTheContainer(t *testing.T) {
	v := newDelegatingVault(t)
	d := delegate(t, v)
	whole, narrow := timeline(1), timeline(2)
	narrow.Policies = []string{"cache"}
	must(t, d.read(t, d.Source(whole), "kv/data/shop/db"))
	must(t, d.read(t, d.Source(narrow), "kv/data/cache/one"))
	wantDenied(t, d.read(t, d.Source(narrow), "kv/data/shop/db"))

	for path, client := range map[string]providers.Client{"kv/data/shop/db": whole, "kv/data/cache/one": narrow} {
		entries, err := v.Audit(path, "read")
		must(t, err)
		want := client.Metadata
		if got := entries[0].Auth.Metadata; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: Vault's audit log says %v; want %v", path, got, want)
		}
		if name := entries[0].Auth.DisplayName; name != "token-quaymaster-shop-timeline-1" {
			t.Errorf("%s: the display name is %q", path, name)
		}
	}
	if d.Source(whole) != d.Source(timeline(1)) || d.Source(whole) == d.Source(narrow) {
		t.Error("a client does not have one source of its own")
	}
	if token := current(t, d.Source(narrow)); token.TTL != time.Hour || !token.Renewable || !strings.Contains(token.Principal, "role/docker-host") {
		t.Errorf("%+v", token)
	}
}

// A hundred containers cost a hundred tokens, however many read at once.
func TestRealVaultHundredContainers(t *testing.T) {
	v := newDelegatingVault(t)
	d := delegate(t, v)
	use := func() {
		together(5, func() {
			for i := range 100 {
				if err := d.read(t, d.Source(timeline(i)), "kv/data/shop/db"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	use()
	if made, logins := requests(t, v, "auth/token/create"), requests(t, v, "auth/aws/login"); made != 100 || logins != 1 {
		t.Errorf("%d tokens made, %d logins", made, logins)
	}
	// The parent dies, and all its children with it.
	host := current(t, d.host)
	must(t, v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), host.Accessor))
	if retry, err := d.host.Refused(t.Context(), host); !retry || err != nil {
		t.Errorf("retry %v, %v", retry, err)
	}
	use()
	if made, logins := requests(t, v, "auth/token/create"), requests(t, v, "auth/aws/login"); made != 200 || logins != 2 {
		t.Errorf("%d tokens made, %d logins", made, logins)
	}
}

// Nobody told the host's login that its token is dead: the container's read
// finds it out.
func TestRealVaultDeadParent(t *testing.T) {
	v := newDelegatingVault(t)
	d := delegate(t, v)
	source := d.Source(timeline(1))
	must(t, d.read(t, source, "kv/data/shop/db"))
	before := current(t, source)
	must(t, v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), current(t, d.host).Accessor))
	wantDenied(t, d.read(t, source, "kv/data/shop/db"))
	together(20, func() {
		if retry, err := source.Refused(t.Context(), before); !retry || err != nil {
			t.Errorf("retry %v, %v", retry, err)
		}
		if err := d.read(t, source, "kv/data/shop/db"); err != nil {
			t.Error(err)
		}
	})
	if ends, superseded := source.Superseded(before.Accessor); !superseded || !ends.IsZero() {
		t.Errorf("ends %v, superseded %v", ends, superseded)
	}
	if logins := requests(t, v, "auth/aws/login"); logins != 2 {
		t.Errorf("%d logins", logins)
	}
}

func TestRealVaultRevokedChild(t *testing.T) {
	v := newDelegatingVault(t)
	d := delegate(t, v)
	source := d.Source(timeline(1))
	before := current(t, source)
	if retry, err := source.Refused(t.Context(), before); retry || err != nil {
		t.Errorf("a token that lives: retry %v, %v", retry, err)
	}
	must(t, v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), before.Accessor))
	together(20, func() {
		if retry, err := source.Refused(t.Context(), before); !retry || err != nil {
			t.Errorf("a revoked token: retry %v, %v", retry, err)
		}
	})
	must(t, d.read(t, source, "kv/data/shop/db"))
	if made, logins := requests(t, v, "auth/token/create"), requests(t, v, "auth/aws/login"); made != 2 || logins != 1 {
		t.Errorf("%d tokens made, %d logins", made, logins)
	}
}

// Children follow when their parent reaches its max TTL, before it ends.
func TestRealVaultChildrenOutliveTheirParent(t *testing.T) {
	v := newDelegatingVault(t)
	delegateTo(t, v, "docker-host", 3*time.Second, 7*time.Second, "shop", "delegate")
	d := delegate(t, v)
	source := d.Source(timeline(1))
	first := current(t, source)
	until(t, "a second child, made under a second token of the host", func() bool {
		if err := d.read(t, source, "kv/data/shop/db"); err != nil { // never with a token that has ended
			t.Error(err)
		}
		_, superseded := source.Superseded(first.Accessor)
		return superseded && requests(t, v, "auth/aws/login") >= 2
	})
	if second := current(t, source); second.Accessor == first.Accessor {
		t.Error("the token that is superseded is handed out")
	}
	until(t, "the end of the first child", func() bool {
		_, err := lookUp(t, v, first.Accessor)
		return err != nil
	})
	if renewals := requests(t, v, "auth/token/renew-self"); renewals < 3 { // of the host, and of its child
		t.Errorf("%d renewals", renewals)
	}
}

// A container that is gone leaves no token behind, and one whose token could
// not be revoked in an outage none for ever.
func TestRealVaultForget(t *testing.T) {
	v := newDelegatingVault(t)
	d := delegate(t, v)
	gone, stays := timeline(1), timeline(2)
	narrow := gone
	narrow.Policies = []string{"cache"}
	tokens := map[string]auth.TokenSource{}
	for _, client := range []providers.Client{gone, narrow} {
		source := d.Source(client)
		tokens[current(t, source).Accessor] = source
	}
	other := current(t, d.Source(stays))

	must(t, v.Seal(t.Context()))
	wantError(t, d.Forget(t.Context(), gone.Container), auth.ErrUnavailable, "token for container shop-timeline-1: revoking the token: Vault is sealed")
	must(t, v.Unseal(t.Context()))
	must(t, d.Forget(t.Context(), gone.Container))
	must(t, d.Forget(t.Context(), gone.Container)) // nothing is left to do

	for accessor, source := range tokens {
		if _, err := lookUp(t, v, accessor); err == nil {
			t.Error("a token of the container lives")
		}
		_, err := source.Token(t.Context())
		wantError(t, err, auth.ErrRefused, "the container is gone")
	}
	if _, err := lookUp(t, v, other.Accessor); err != nil {
		t.Errorf("another container's token: %v", err)
	}
	must(t, d.read(t, d.Source(gone), "kv/data/shop/db")) // it was started again
}

// A grant's own role is a login of its own, and its tokens are the parents.
func TestRealVaultRoleOfAGrant(t *testing.T) {
	v := newDelegatingVault(t)
	delegateTo(t, v, "cache-reader", time.Hour, 0, "cache", "delegate")
	d := delegate(t, v)
	one, other := timeline(1), timeline(2)
	one.Role, other.Role = "cache-reader", "cache-reader"
	for _, client := range []providers.Client{one, other} {
		must(t, d.read(t, d.Source(client), "kv/data/cache/one"))
		wantDenied(t, d.read(t, d.Source(client), "kv/data/shop/db"))
	}
	if logins := requests(t, v, "auth/aws/login"); logins != 2 { // the host's and the role's
		t.Errorf("%d logins", logins)
	}
	entries, err := v.Audit("kv/data/cache/one", "read")
	must(t, err)
	if id := entries[0].Auth.Metadata["container_id"]; id != one.Container {
		t.Errorf("Vault's audit log names %q", id)
	}
}

// Each refusal says what to change.
func TestRealVaultRefusesChildren(t *testing.T) {
	v := newDelegatingVault(t)
	delegateTo(t, v, "may-not", time.Hour, 0, "shop")
	delegateTo(t, v, "batch", time.Hour, 0, "shop", "delegate")
	_, err := v.Client().Logical().WriteWithContext(t.Context(), "auth/aws/role/batch", map[string]any{"token_type": "batch"})
	must(t, err)
	d := delegate(t, v)
	for role, c := range map[string]struct{ policy, want string }{
		"may-not": {"shop", `token for container shop-timeline-1: making the token: Vault denies it (403): permission denied ` +
			`(a policy of role "may-not" must say: path "auth/token/create" { capabilities = ["update"] })`},
		"batch": {"shop", `role "batch" logs in with a batch token, which can have no children: set token_type=service on that role`},
		"":      {"root-of-all", `(400): child policies must be subset of parent (the grant asks for root-of-all: the host's role must have these policies itself)`},
		"none":  {"shop", `role "none": Vault refuses the request (400): entry for role none not found`},
		"a b":   {"shop", `entry for role a b not found`},
	} {
		client := timeline(1)
		client.Role, client.Policies = role, []string{c.policy}
		source := d.Source(client)
		_, err := source.Token(t.Context())
		wantError(t, err, auth.ErrRefused, c.want)
	}
}

// A child has the policies that Vault's identity store gives to the host, too. A
// grant that does not name them is not served with more than it says.
func TestRealVaultIdentityPolicies(t *testing.T) {
	v := newDelegatingVault(t)
	delegateTo(t, v, "docker-host", time.Hour, 0, "cache", "delegate")
	d := delegate(t, v)
	host, err := lookUp(t, v, current(t, d.host).Accessor)
	must(t, err)
	_, err = v.Client().Logical().WriteWithContext(t.Context(), "identity/entity/id/"+fmt.Sprint(host.Data["entity_id"]),
		map[string]any{"policies": []string{"shop"}})
	must(t, err)
	whole, narrow := timeline(1), timeline(2)
	narrow.Policies = []string{"cache"}
	must(t, d.read(t, d.Source(whole), "kv/data/shop/db"))
	_, err = d.Source(narrow).Token(t.Context())
	wantError(t, err, auth.ErrRefused, "because Vault's identity store adds shop: take these from the host's entity and its groups and give them to the host's role")
	if n := requests(t, v, "auth/token/revoke-self"); n != 1 {
		t.Errorf("the token that may do too much was revoked %d times", n)
	}
}
