//go:build engines

package examples_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/postgres"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// TestOnAWS runs the examples on one host in AWS, one after the other. Vault is
// set up as compose-aws says, and what further examples need is added to that.
func TestOnAWS(t *testing.T) {
	w := start(t, options{
		kind: engine.Newest, dir: "compose-aws", vault: realvault.Options{TLS: true}, variables: []string{"ROLE_ARN=" + host.Principal},
		stand: func(ctx context.Context, v *realvault.Vault, sts string) error {
			asked := map[string]any{"sts_endpoint": sts, "sts_region": "us-east-1", "iam_server_id_header_value": "vault.internal"}
			_, err := v.Client().Logical().WriteWithContext(ctx, "auth/aws/config/client", asked)
			return err
		},
	})
	if err := w.Engine.ImportApps(soon(t)); err != nil {
		t.Fatal(err)
	}
	for _, example := range []struct {
		dir string
		try func(*world, *testing.T)
	}{
		{"compose-aws", func(w *world, t *testing.T) { w.tryCompose(t, "compose-aws") }},
		{"volume-gate", func(w *world, t *testing.T) { w.tryProfile(t, "volume-gate", "volume") }},
		{"cdi-device", func(w *world, t *testing.T) { w.tryProfile(t, "cdi-device", "cdi") }},
		{"docker-run", (*world).tryDockerRun},
		{"nginx-pki", (*world).tryNginx},
		{"java-keystore", (*world).tryJava},
		{"postgres-login", (*world).tryPostgres},
		{"aws-dotenv", (*world).tryDotenv},
		{"ecs", (*world).tryECS},
		{"swarm", (*world).trySwarm},
	} {
		t.Run(example.dir, func(t *testing.T) { example.try(w, t) })
	}
}

// tryProfile: a container that names a profile has its file, through this gate.
func (w *world) tryProfile(t *testing.T, dir, gate string) {
	w.configure(t, dir, "")
	p := w.project(t, dir, probed(map[string]string{"db": "/run/secrets"}))
	p.up(t)
	holds(t, p.report(t, "db"), 0o400, 999, map[string]string{"password": w.value(t, "shop/db", "password")})
	listed, _, err := w.Quaymaster(soon(t), "ps", "--config", w.ConfigFile())
	if err != nil || !regexp.MustCompile(`shop-db-1 .* `+gate+` .* ok`).MatchString(listed) {
		t.Errorf("ps: %v\n%s", err, listed)
	}
}

// tryDockerRun runs the script as it lies here, and once without its label.
func (w *world) tryDockerRun(t *testing.T) {
	if err := w.script(soon(t), "docker-run", "vault.sh"); err != nil {
		t.Fatal(err)
	}
	w.configure(t, "docker-run", "")
	w.tag(t, engine.BusyboxImage, "busybox:1.36")
	said, err := w.shell(soon(t), "docker-run", nil, "run.sh")
	if err != nil || !regexp.MustCompile(`-r-------- +1 65534 +65534 +\d+ .* id_ed25519\nand a password of 32 characters\n$`).MatchString(said) {
		t.Errorf("%v; the job said %q", err, said)
	}
	script, err := os.ReadFile("docker-run/run.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.shell(soon(t), "docker-run", nil, "-c", strings.Replace(string(script), "--label app=backup ", "", 1))
	if err == nil || !strings.Contains(err.Error(), `denied by policy: grant "backup" lists it, but it is for label.app=backup and this container has no label.app`) {
		t.Errorf("without its label: %v", err)
	}
}

// tryNginx asks the server for its page, as a client that trusts nobody but the
// authority that the script has made.
func (w *world) tryNginx(t *testing.T) {
	ca := w.authority(t, "nginx-pki")
	w.configure(t, "nginx-pki", "")
	p := w.project(t, "nginx-pki", "services: {web: {pull_policy: never}}\n")
	p.up(t)
	page, err := p.Engine.Docker(soon(t), p.dir, "run", "--rm", "--pull", "never", "--network", "shop_default", "--volume", ca+":/ca.pem:ro",
		engine.NginxImage, "curl", "--silent", "--show-error", "--retry", "20", "--retry-connrefused", "--retry-delay", "1",
		"--cacert", "/ca.pem", "--connect-to", "web.shop.internal:443:web:443", "https://web.shop.internal/")
	if err != nil || !strings.Contains(page, "Welcome to nginx") {
		t.Errorf("%v; the page is %q\n%s", err, page, lastLines(w.Log(), 10))
	}
	listed, err := p.compose(soon(t), "exec", "--no-TTY", "web", "ls", "/run/secrets/tls/")
	if err != nil || listed != "ca.crt\ntls.crt\ntls.key\n" {
		t.Errorf("%v: the service has %q", err, listed)
	}
}

// authority runs an example's script that makes one, until the test ends, and
// returns the file of its certificate.
func (w *world) authority(t *testing.T, dir string) (ca string) {
	t.Helper()
	ca = filepath.Join(t.TempDir(), "shop-ca.crt")
	if err := w.script(soon(t), dir, "vault.sh", "CA_FILE="+ca); err != nil {
		t.Fatal(err)
	}
	w.unmount(t, "pki")
	return ca
}

// unmount takes a mount away again when the test ends: the next example makes
// its own.
func (w *world) unmount(t *testing.T, mount string) {
	t.Cleanup(func() {
		if err := w.vault.Client().Sys().UnmountWithContext(context.WithoutCancel(t.Context()), mount); err != nil {
			t.Error(err)
		}
	})
}

// listStores opens all keystores that the properties name with the password
// that the process was given.
const listStores = `grep -ho '/run/secrets/[^ ]*' /srv/*.properties | sort | while read store; do
	echo "store $store"
	keytool -list -keystore "$store" -storepass "$KEYSTORE_PASSWORD" || echo failed
done`

// tryJava lets Java's own tool open the keystores where the properties say that
// they are.
func (w *world) tryJava(t *testing.T) {
	w.authority(t, "java-keystore")
	w.configure(t, "java-keystore", "")
	p := w.project(t, "java-keystore", "services: {orders: {pull_policy: never}}\n")
	p.write(t, "orders.jar", "")
	said, err := p.compose(soon(t), "run", "--rm", "--no-TTY", "orders", "sh", "-c", listStores)
	if err != nil {
		t.Fatal(err)
	}
	entries := strings.Count(said, "PrivateKeyEntry") == 2 && strings.Count(said, "trustedCertEntry") == 2
	if strings.Count(said, "store /run/secrets/") != 4 || !entries || strings.Contains(said, "failed") {
		t.Errorf("keytool says\n%s", said)
	}
}

// tryPostgres: the service uses a login of its own, which is gone with it.
func (w *world) tryPostgres(t *testing.T) {
	server := postgres.ForTest(t)
	rights, err := os.ReadFile("postgres-login/postgres.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"CREATE TABLE stock (name text, pieces int); INSERT INTO stock VALUES ('tea', 3), ('cups', 12)",
		strings.ReplaceAll(string(rights), ":'password'", "'until Vault changes it'"),
	} {
		if _, err := server.Query(soon(t), sql); err != nil {
			t.Fatal(err)
		}
	}
	err = w.script(soon(t), "postgres-login", "vault.sh", "PASSWORD=until Vault changes it", "POSTGRES="+server.Address()+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	w.unmount(t, "database")
	w.configure(t, "postgres-login", "")
	p := w.project(t, "postgres-login", `services:
  report:
    pull_policy: never
    environment: {PGHOST: /run/postgresql, PGPORT: "`+server.Port()+`", PGDATABASE: postgres}
    volumes: ["`+server.SocketDir()+`:/run/postgresql"]
`)
	p.up(t)
	login := regexp.MustCompile(`\|(v-[^|]*-report-[^|]*)\|15\n`)
	found := login.FindStringSubmatch(p.logged(t, "report", "the first report", login.MatchString))
	if exists, err := server.Exists(soon(t), found[1]); err != nil || !exists {
		t.Errorf("PostgreSQL does not know %s: %v", found[1], err)
	}
	if _, err := p.compose(soon(t), "rm", "--stop", "--force", "report"); err != nil {
		t.Fatal(err)
	}
	if err := p.Await(t.Context(), "the login to go", func() bool {
		exists, err := server.Exists(t.Context(), found[1])
		return err == nil && !exists
	}); err != nil {
		t.Error(err)
	}
}

// tryDotenv: the host's role may do what the policy that lies here says, and
// that suffices. A new value restarts the service.
func (w *world) tryDotenv(t *testing.T) {
	permissions := permissionsOf(t, w.AWS.RoleARN(host.Role), "aws-dotenv/policy.json")
	secrets, parameters := awssim.NewSecretsManager(w.AWS, host.Region, permissions), awssim.NewParameterStore(w.AWS, host.Region, permissions)
	secrets.PutText("prod/shop/app", `{"DATABASE_URL":"postgres://shop@db.internal/shop","PSP_KEY":"it's one"}`)
	parameters.Put("/prod/shop/log-level", "info")
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	tls := cloudsim.Options{Authority: authority}
	w.Environment = []string{"AWS_CA_BUNDLE=" + ca, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + serve(t, nil, secrets, tls),
		"AWS_ENDPOINT_URL_SSM=" + serve(t, nil, parameters, tls)}
	t.Cleanup(func() { w.Environment = nil })
	w.configure(t, "aws-dotenv", "refresh: 1s\n")
	w.tag(t, engine.BusyboxImage, "shop-api:7")
	p := w.project(t, "aws-dotenv", `services: {api: {pull_policy: never, volumes: ["./shop-api:/usr/bin/shop-api:ro"]}}`)
	p.write(t, "shop-api", "#!/bin/sh\necho \"$DATABASE_URL, $PSP_KEY, $LOG_LEVEL\"\ntrap 'exit 0' TERM\nwhile :; do sleep 1; done\n")
	p.up(t)
	says := func(line string) {
		p.logged(t, "api", "the program to say "+line, func(log string) bool { return strings.Contains(log, line) })
	}
	says("postgres://shop@db.internal/shop, it's one, info")
	secrets.PutText("prod/shop/app", `{"DATABASE_URL":"postgres://shop@db.internal/shop","PSP_KEY":"another"}`)
	says("postgres://shop@db.internal/shop, another, info")
}

// permissionsOf lets a principal do what an IAM policy allows. The question
// marks at the end of a secret's ARN stand for its six last characters.
func permissionsOf(t *testing.T, principal, file string) *awssim.Permissions {
	t.Helper()
	var policy struct {
		Statement []struct {
			Effect           string
			Action, Resource oneOrMore
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &policy); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	permissions := new(awssim.Permissions)
	for _, statement := range policy.Statement {
		for _, action := range statement.Action {
			for _, resource := range statement.Resource {
				permissions.Allow(principal, action, strings.ReplaceAll(resource, "??????", "*"))
			}
		}
	}
	return permissions
}

// oneOrMore is how IAM writes lists: one member may stand alone.
type oneOrMore []string

func (l *oneOrMore) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*l = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(l))
}
