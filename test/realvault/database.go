package realvault

import (
	"context"
	"time"
)

// PostgreSQL is where Vault's database engine makes logins. It fits
// test/postgres.
type PostgreSQL interface {
	// ConnectionURL is the server's, with {{username}} and {{password}}.
	ConnectionURL() string
	// Password is that of User.
	Password() string
}

// Database is a database engine with one connection.
type Database struct {
	Mount  string // "database", for example
	Server PostgreSQL
	User   string // the superuser
}

// connection is the name of the one connection of each database engine.
const connection = "postgres"

// EnableDatabase mounts and configures a database engine.
func (v *Vault) EnableDatabase(ctx context.Context, d Database) error {
	if err := v.mount(ctx, d.Mount, "database"); err != nil {
		return err
	}
	return v.put(ctx, d.Mount+"/config/"+connection, map[string]any{
		"plugin_name":             "postgresql-database-plugin",
		"connection_url":          d.Server.ConnectionURL(),
		"username":                d.User,
		"password":                d.Server.Password(),
		"password_authentication": "scram-sha-256",
		"allowed_roles":           []string{"*"},
	})
}

// DatabaseRole is what logins of the database engine are made from.
type DatabaseRole struct {
	Mount, Name string
	// Grants are SQL statements for each new login, which is {{name}}.
	Grants []string
	// TTL and MaxTTL of the leases, in whole seconds.
	TTL, MaxTTL time.Duration
}

// WriteDatabaseRole creates or replaces a role. Its logins are dropped when
// their lease ends, whatever sessions they have.
func (v *Vault) WriteDatabaseRole(ctx context.Context, r DatabaseRole) error {
	create := []string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`}
	revoke := []string{
		`REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "{{name}}"`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'`,
		`DROP ROLE IF EXISTS "{{name}}"`,
	}
	return v.put(ctx, r.Mount+"/roles/"+r.Name, map[string]any{
		"db_name":               connection,
		"creation_statements":   append(create, r.Grants...),
		"revocation_statements": revoke,
		"default_ttl":           int(r.TTL.Seconds()),
		"max_ttl":               int(r.MaxTTL.Seconds()),
	})
}

// WriteStaticRole lets Vault change the password of a login that exists, now
// and then every period.
func (v *Vault) WriteStaticRole(ctx context.Context, mount, name, user string, period time.Duration) error {
	return v.put(ctx, mount+"/static-roles/"+name, map[string]any{
		"db_name": connection, "username": user, "rotation_period": int(period.Seconds()),
	})
}

// RotateStaticRole lets Vault change that password at once.
func (v *Vault) RotateStaticRole(ctx context.Context, mount, name string) error {
	return v.put(ctx, mount+"/rotate-role/"+name, nil)
}
