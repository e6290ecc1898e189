//go:build integration

package vault_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/test/postgres"
	"github.com/quaymaster/quaymaster/test/realvault"
)

const databasePolicy = `
path "database/creds/shop-*"   { capabilities = ["read"] }
path "database/static-creds/*" { capabilities = ["read"] }
path "sys/leases/revoke"       { capabilities = ["update"] }
` // the default policy allows sys/leases/renew

// newDatabase is a Vault that makes logins of a PostgreSQL: by shop-ro for an
// hour, by shop-end for ten seconds and no longer.
func newDatabase(t *testing.T) (*real, *postgres.Server) {
	t.Helper()
	pg, r := postgres.ForTest(t), newReal(t)
	r.allow(databasePolicy)
	read := []string{`GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}"`}
	must[string](t)(pg.Query(t.Context(), "CREATE TABLE stock (name text); INSERT INTO stock VALUES ('tea')"))
	if err := errors.Join(
		r.EnableDatabase(t.Context(), realvault.Database{Mount: "database", Server: pg, User: postgres.Superuser}),
		r.WriteDatabaseRole(t.Context(), realvault.DatabaseRole{Mount: "database", Name: "shop-ro", Grants: read, TTL: time.Hour, MaxTTL: 24 * time.Hour}),
		r.WriteDatabaseRole(t.Context(), realvault.DatabaseRole{Mount: "database", Name: "shop-end", TTL: 10 * time.Second, MaxTTL: 10 * time.Second}),
	); err != nil {
		t.Fatal(err)
	}
	return r, pg
}

// login queries PostgreSQL with what was fetched.
func login(t *testing.T, pg *postgres.Server, found secret.Secret) error {
	t.Helper()
	got := texts(found)
	name, err := pg.QueryAs(t.Context(), got["username"], got["password"], "SELECT name FROM stock")
	if err == nil && name != "tea" {
		t.Errorf("the stock is %q", name)
	}
	return err
}

// A login is made for each who asks, renewed, and gone from PostgreSQL when
// Revoke returns.
func TestRealVaultDatabaseLogin(t *testing.T) {
	r, pg := newDatabase(t)
	const ref = "vault:database/creds/shop-ro"
	r.issues(ref, true)
	one, two := r.has(ref), r.has(ref)
	if texts(one)["username"] == texts(two)["username"] {
		t.Error("two reads gave one login")
	}
	if n := r.requests("database/creds/shop-ro"); n != 2 {
		t.Errorf("two logins took %d requests, each of which makes one", n)
	}
	if names := one.Names(); !slices.Equal(names, []string{"password", "username"}) {
		t.Errorf("fields %q", names)
	}
	if one.Lease.ID == "" || one.Lease.TTL != time.Hour || !one.Lease.Renewable || one.Lease.Token != accessor || one.Lease.IssuedAt.IsZero() {
		t.Errorf("lease %+v", one.Lease)
	}
	if err := errors.Join(login(t, pg, one), login(t, pg, two)); err != nil {
		t.Error(err)
	}
	renewed, err := r.provider.Renew(t.Context(), one.Lease)
	if err != nil || renewed.ID != one.Lease.ID || renewed.TTL != time.Hour || !renewed.Renewable || renewed.Token != accessor || renewed.IssuedAt.Before(one.Lease.IssuedAt) {
		t.Errorf("renewed %+v, %v", renewed, err)
	}
	for range 2 { // the second time there is no such lease any more
		if err := r.provider.Revoke(t.Context(), one.Lease); err != nil {
			t.Error(err)
		}
		if exists := must[bool](t)(pg.Exists(t.Context(), texts(one)["username"])); exists {
			t.Error("PostgreSQL still has the login whose lease was revoked")
		}
	}
	if login(t, pg, one) == nil {
		t.Error("a revoked login works")
	}
	if err := login(t, pg, two); err != nil {
		t.Errorf("the other container's login: %v", err)
	}
	_, err = r.provider.Renew(t.Context(), one.Lease)
	checkError(t, err, providers.ErrNotFound, "renewing a lease of database/creds/shop-ro", "had anew")
}

// The end of a role's max TTL does not move.
func TestRealVaultDatabaseMaxTTL(t *testing.T) {
	r, _ := newDatabase(t)
	found := r.has("vault:database/creds/shop-end")
	renewed, err := r.provider.Renew(t.Context(), found.Lease)
	if err != nil || renewed.TTL <= 0 || renewed.Ends().After(found.Lease.Ends().Add(time.Second)) { // Vault counts whole seconds
		t.Errorf("first %+v, renewed %+v, %v", found.Lease, renewed, err)
	}
}

func TestRealVaultDatabaseRefuses(t *testing.T) {
	r, _ := newDatabase(t)
	r.fails("vault:database/creds/shop-none", providers.ErrNotFound, "unknown role: shop-none", "make that role in Vault")
	r.fails("vault:database/creds/other", providers.ErrDenied, `path "database/creds/other" { capabilities = ["read"] }`)
	r.fails("vault:database/creds/shop-ro@2", providers.ErrInvalid, "keeps no versions")
	_, err := r.provider.CurrentVersion(t.Context(), parse(t, "vault:database/creds/shop-ro"))
	checkError(t, err, providers.ErrInvalid, "database/creds/shop-ro")

	if err := r.set("database/config/postgres", map[string]any{"allowed_roles": "shop-end"}); err != nil {
		t.Fatal(err)
	}
	r.fails("vault:database/creds/shop-ro", providers.ErrDenied, "is not an allowed role", "allowed_roles")

	r.allow(`path "database/creds/*" { capabilities = ["read"] }
		path "sys/leases/renew"  { capabilities = ["deny"] }
		path "sys/leases/revoke" { capabilities = ["deny"] }`)
	found := r.has("vault:database/creds/shop-end")
	_, err = r.provider.Renew(t.Context(), found.Lease)
	checkError(t, err, providers.ErrDenied, `path "sys/leases/renew" { capabilities = ["update"] }`)
	checkError(t, r.provider.Revoke(t.Context(), found.Lease), providers.ErrDenied, `path "sys/leases/revoke" { capabilities = ["update"] }`)
}

// set changes a setting of an engine.
func (r *real) set(path string, body map[string]any) error {
	_, err := r.Client().Logical().WriteWithContext(r.t.Context(), path, body)
	return err
}

// While PostgreSQL is down nothing can be made or renewed, and nobody has
// decided anything; what is revoked then is gone soon after it is back.
func TestRealVaultDatabaseIsDown(t *testing.T) {
	r, pg := newDatabase(t)
	found := r.has("vault:database/creds/shop-ro")
	if err := pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.fails("vault:database/creds/shop-ro", providers.ErrUnavailable, "database/creds/shop-ro", "Vault failed (500)", "is up")
	_, err := r.provider.Renew(t.Context(), found.Lease)
	checkError(t, err, providers.ErrUnavailable, "see whether it is up")
	if err := r.provider.Revoke(t.Context(), found.Lease); err != nil {
		t.Errorf("Vault takes over what cannot be done now: %v", err)
	}
	if err := pg.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute) // Vault tries again after ten seconds, then less often
	for must[bool](t)(pg.Exists(t.Context(), texts(found)["username"])) {
		if time.Now().After(deadline) {
			t.Fatal("PostgreSQL still has the login")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// A login whose password Vault changes is the same for all who read it, and
// the time that is left is no part of it.
func TestRealVaultDatabaseStaticLogin(t *testing.T) {
	r, pg := newDatabase(t)
	must[string](t)(pg.Query(t.Context(), "CREATE ROLE legacy LOGIN PASSWORD 'old'; GRANT SELECT ON stock TO legacy"))
	if err := r.WriteStaticRole(t.Context(), "database", "shop", "legacy", time.Hour); err != nil {
		t.Fatal(err)
	}
	const ref = "vault:database/static-creds/shop"
	r.issues(ref, false)
	one, again := r.has(ref), r.has(ref)
	if !one.Equal(again) || texts(one)["username"] != "legacy" || slices.Contains(one.Names(), "ttl") {
		t.Errorf("the same login twice: %v; fields %q", one.Equal(again), one.Names())
	}
	if l := one.Lease; l.ID != "" || l.Renewable || l.TTL <= 0 || l.TTL > time.Hour {
		t.Errorf("lease %+v", l)
	}
	if err := login(t, pg, one); err != nil {
		t.Error(err)
	}
	if err := r.RotateStaticRole(t.Context(), "database", "shop"); err != nil {
		t.Fatal(err)
	}
	if err := login(t, pg, r.has(ref)); err != nil || login(t, pg, one) == nil {
		t.Errorf("after the rotation the new password works: %v", err)
	}
	r.fails("vault:database/static-creds/none", providers.ErrNotFound, "unknown role: none")
}
