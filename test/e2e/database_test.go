//go:build integration

package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/postgres"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// databaseGrants is the policy of the tests with a database.
const databaseGrants = `
grants:
  - {name: shop, workloads: {label.app: shop}, secrets: ["vault:database/creds/shop"]}
`

// apps imports the images with real applications.
func apps(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // the first time they are made
	defer cancel()
	if err := h.Engine.ImportApps(ctx); err != nil {
		t.Fatal(err)
	}
}

// database is a PostgreSQL server in which Vault makes logins for the shop, at
// database/creds/shop. It has a table of stock, with fifteen pieces in all.
type database struct{ *postgres.Server }

func newDatabase(t *testing.T, ttl, maxTTL time.Duration) database {
	t.Helper()
	apps(t)
	d := database{postgres.ForTest(t)}
	d.query(t, "CREATE TABLE stock (name text, pieces int); INSERT INTO stock VALUES ('tea', 3), ('cups', 12)")
	vault := realVault()
	if err := vault.EnableDatabase(soon(t), realvault.Database{Mount: "database", Server: d, User: postgres.Superuser}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // while the server still runs: Vault ends what it has given
		if err := vault.Client().Sys().UnmountWithContext(context.WithoutCancel(t.Context()), "database"); err != nil {
			t.Error(err)
		}
	})
	role := realvault.DatabaseRole{Mount: "database", Name: "shop", TTL: ttl, MaxTTL: maxTTL, Grants: []string{`GRANT SELECT ON stock TO "{{name}}"`}}
	if err := vault.WriteDatabaseRole(soon(t), role); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d database) query(t *testing.T, sql string) string {
	t.Helper()
	rows, err := d.Query(soon(t), sql)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// logins are the logins that Vault has made and that are still there.
func (d database) logins(t *testing.T) []string {
	t.Helper()
	return strings.Fields(d.query(t, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%' ORDER BY 1"))
}

// comeTo waits until there are so many logins. It is more patient than await:
// some ends are a minute away by design, and Vault has its own pace.
func (d database) comeTo(t *testing.T, what string, so func(logins int) bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !so(len(d.logins(t))); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: there are %v\n%s", what, d.logins(t), tail(h.Log()))
		}
	}
}

// client starts a container of the shop that runs a shell script and reaches
// the server through its socket. psql asks there without being told.
func (d database) client(t *testing.T, script string, wants map[string]string) (id string) {
	t.Helper()
	config := &container.Config{Image: engine.PostgresImage, Cmd: []string{"bash", "-c", script}, Labels: wants,
		Env: []string{"PGHOST=/run/postgresql", "PGPORT=" + d.Port(), "PGDATABASE=postgres"}}
	hostConfig := gated()
	hostConfig.NetworkMode = "none"
	hostConfig.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: d.SocketDir(), Target: "/run/postgresql"}}
	id, err := h.Engine.Launch(soon(t), config, hostConfig)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(h.Log()))
	}
	return id
}

// said waits until a container has printed n lines that begin with prefix, and
// returns the rest of each. A line that begins with "failed" ends the test.
func said(t *testing.T, id, prefix string, n int, patience time.Duration) (rest []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		stdout, stderr, err := h.Engine.Logs(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[:0]
		for line := range strings.Lines(string(stdout)) {
			if after, found := strings.CutPrefix(line, prefix); found {
				rest = append(rest, strings.TrimSpace(after))
			}
		}
		if strings.Contains(string(stdout), "failed") {
			t.Fatalf("a container said:\n%s%s\n%s", stdout, stderr, tail(h.Log()))
		}
		if len(rest) >= n {
			return rest
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %d lines with %q; the container said:\n%s%s\n%s", n, prefix, stdout, stderr, tail(h.Log()))
		}
	}
}

// loginLabels are those of a container that has user and password in two files.
var loginLabels = labels("quaymaster.secret.user", "vault:database/creds/shop#username",
	"quaymaster.secret.password", "vault:database/creds/shop#password")

// askOnce logs in with the two files, says who it was, and lives on.
const askOnce = `
PGUSER=$(cat /run/secrets/user) PGPASSWORD=$(cat /run/secrets/password) psql -AtXc "SELECT 'sum ' || sum(pieces) || ' ' || current_user FROM stock" || echo failed
trap 'exit 0' TERM
while :; do sleep 0.1; done`

// TestDatabaseLoginLivesAsLongAsItsContainer: each container has a login of its own, both
// files are of that one, and it is gone from PostgreSQL when the container was
// removed, not before.
func TestDatabaseLoginLivesAsLongAsItsContainer(t *testing.T) {
	reconfigure(t, h, "gate_timeout: 20s\n"+databaseGrants)
	d := newDatabase(t, time.Hour, 2*time.Hour) // not by their end are they gone within this test
	first := d.client(t, askOnce, loginLabels)
	second := d.client(t, askOnce, loginLabels)
	defer remove(t, h, second)
	var users []string
	for _, id := range []string{first, second} {
		sum, user, _ := strings.Cut(said(t, id, "sum ", 1, time.Minute)[0], " ")
		if users = append(users, user); sum != "15" || !strings.HasPrefix(user, "v-") {
			t.Errorf("a container counted %q pieces as %q", sum, user)
		}
	}
	if logins := d.logins(t); len(logins) != 2 || users[0] == users[1] {
		t.Errorf("two containers use %v, and there are %v", users, logins)
	}
	if err := h.Engine.Client().ContainerStop(soon(t), first, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := h.Engine.Client().ContainerStart(soon(t), first, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	said(t, first, "sum 15", 2, time.Minute)
	for _, user := range users {
		if exists, err := d.Exists(soon(t), user); err != nil || !exists {
			t.Errorf("%s is gone although its container was not removed; %v", user, err)
		}
	}
	remove(t, h, first)
	await(t, h, "the logins of a removed container to be gone", func() bool {
		logins := d.logins(t)
		return len(logins) == 1 && logins[0] == users[1]
	})
}

// TestDatabaseLoginOutlivesTheAgent: a restart of the agent leaves the login alone, and
// what an agent gave, the next one ends: for a container that was removed
// while none was there, too.
func TestDatabaseLoginOutlivesTheAgent(t *testing.T) {
	reconfigure(t, h, "gate_timeout: 20s\n"+databaseGrants)
	d := newDatabase(t, time.Hour, 2*time.Hour)
	away, stays := d.client(t, askOnce, loginLabels), d.client(t, askOnce, loginLabels)
	for _, id := range []string{away, stays} {
		said(t, id, "sum 15", 1, time.Minute)
	}
	if err := h.StopAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	if logins := d.logins(t); len(logins) != 2 {
		t.Errorf("after the agent ended there are %v, want both", logins)
	}
	remove(t, h, away)
	if err := h.StartAgent(soon(t)); err != nil {
		t.Fatal(err)
	}
	// A container that does not run may be about to: the next agent waits a
	// minute. What stays has a login of the next agent by now, beside its first.
	d.comeTo(t, "the login of the container that is gone to go", func(logins int) bool { return logins <= 2 })
	if !running(t, stays) {
		t.Error("the container that stays does not run")
	}
	remove(t, h, stays)
	d.comeTo(t, "the other logins to go", func(logins int) bool { return logins == 0 })
}

// askAlways logs in for each query with what the file says then, and tells
// when that is another login than before.
const askAlways = `
trap 'echo "asked $n"; exit 0' TERM
while :; do
	. /run/secrets/db
	if user=$(PGUSER=$username PGPASSWORD=$password psql -AtXc 'SELECT current_user FROM stock LIMIT 1' 2>&1); then n=$((n+1)); else echo "failed as $username: $user"; fi
	[ "$user" = "$last" ] || echo "login $user"
	last=$user
done`

// TestDatabaseLoginIsReplacedBeforeItEnds has containers ask the database all
// the while: over several logins, each of which ends within seconds and not
// one of which may be used a moment too long, not one query fails.
func TestDatabaseLoginIsReplacedBeforeItEnds(t *testing.T) {
	t.Run("at its max TTL", func(t *testing.T) {
		reconfigure(t, h, "gate_timeout: 20s\n"+databaseGrants)
		checkReplacements(t, newDatabase(t, 24*time.Second, 24*time.Second), 3)
	})
	// What hangs on a token ends with it, whatever its own TTL.
	t.Run("when the token that it hangs on ends", func(t *testing.T) {
		role := realvault.IAMRole{Mount: "aws", Name: "short", Principal: host.Principal, Policies: []string{host.Role},
			TTL: 30 * time.Second, MaxTTL: time.Minute}
		if err := realVault().WriteIAMRole(soon(t), role); err != nil {
			t.Fatal(err)
		}
		reconfigure(t, h, fmt.Sprintf("vault: {address: %q, role: short, server_id: %s, ca_file: %q}\ngate_timeout: 20s\n%s",
			h.Vault.Address(), host.ServerID, h.Vault.CAFile(), databaseGrants))
		checkReplacements(t, newDatabase(t, time.Hour, time.Hour), 2)
	})
}

// checkReplacements has three clients ask until each of them has used as many logins.
func checkReplacements(t *testing.T, d database, logins int) {
	t.Helper()
	const clients = 3
	asked, err := realVault().Requests("database/creds/shop", "read")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range clients {
		id := d.client(t, askAlways, labels("quaymaster.secret.db", "vault:database/creds/shop", "quaymaster.format.db", "dotenv"))
		defer remove(t, h, id)
		ids = append(ids, id)
	}
	seen := 0
	for _, id := range ids {
		seen += len(said(t, id, "login ", logins, 3*time.Minute))
	}
	total, err := realVault().Requests("database/creds/shop", "read")
	if err != nil {
		t.Fatal(err)
	}
	// Somebody may be between having a login and its container's first use of it.
	if made := total - asked; made > seen+clients {
		t.Errorf("Vault was asked for %d logins, and the containers used %d", made, seen)
	}
	for _, id := range ids {
		if err := h.Engine.Client().ContainerStop(soon(t), id, container.StopOptions{}); err != nil {
			t.Fatal(err)
		}
		said(t, id, "asked ", 1, time.Minute)
	}
	d.comeTo(t, "the logins that were replaced to be gone", func(logins int) bool { return logins <= clients })
}
