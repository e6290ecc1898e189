// Command demo runs Quaymaster's main job for real and tells what happens:
// a private Docker Engine, a Vault, stand-ins for AWS around them, the agent
// and the runtime gate as they ship. It needs root, leaves nothing behind, and
// exits with 0 only when every step was seen to be true.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// settings are the agent's: one grant, for one service of one Compose project.
const settings = `refresh: 1s
gate_timeout: 10s
grants:
  - name: shop-db
    workloads: {compose.project: shop, compose.service: db}
    secrets: ["vault:kv/shop/db"]
`

// The secret, before and after its rotation.
const (
	first  = "opensesame-1"
	second = "opensesame-2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	began := time.Now()
	d := demo{}
	defer func() {
		if d.host != nil {
			d.step("Cleaning up")
			err = errors.Join(err, d.host.Remove(context.WithoutCancel(ctx)))
		}
		if err == nil {
			fmt.Printf("\nAll of it was real, and nothing is left. %.0f seconds.\n", time.Since(began).Seconds())
		}
	}()
	for _, part := range []func(context.Context) error{d.setUp, d.startAgent, d.firstInstruction, d.searchPlaintext, d.refusal, d.rotation} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// demo is what one part leaves for the next.
type demo struct {
	host  *host.Host
	steps int
	shop  string // ID of the container that was granted its secrets
}

// step announces what happens next.
func (d *demo) step(format string, args ...any) {
	d.steps++
	fmt.Printf("\n%d. %s\n", d.steps, fmt.Sprintf(format, args...))
}

// say tells what was seen.
func say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

func (d *demo) setUp(ctx context.Context) error {
	d.step("Starting Vault, a cloud and a Docker Engine, all private to this demo")
	vault, err := startVault(ctx)
	if err != nil {
		return err
	}
	say("Vault: %s, at %s", vault.Name(), vault.Address())
	if d.host, err = host.Start(ctx, host.Options{Vault: vault}); err != nil {
		return err
	}
	version, err := d.host.Engine.Client().ServerVersion(ctx)
	if err != nil {
		return err
	}
	say("Docker Engine %s, with its own data root, bridge and socket", version.Version)
	say("AWS: a stand-in for the instance metadata service, and for STS, which checks signatures itself")
	if err := d.host.Vault.PutSecret(ctx, "kv", "shop/db", map[string]any{"user": "shop", "password": first}); err != nil {
		return err
	}
	say("Vault holds kv/shop/db, and its role %q is bound to %s", host.Role, host.Principal)
	return nil
}

// startVault prefers a real server when there is one; it does not build one.
func startVault(ctx context.Context) (host.Vault, error) {
	vault, err := host.StartRealVault(ctx, realvault.Options{TLS: true})
	if errors.Is(err, realvault.ErrNoBinary) {
		say("no vault on PATH and none built earlier (make vault builds one): using the stand-in")
		return host.StartStandIn()
	}
	return vault, err
}

func (d *demo) startAgent(ctx context.Context) error {
	d.step("Installing the runtime gate and starting the agent")
	if err := d.host.Configure(settings); err != nil {
		return err
	}
	say("the whole configuration; no token, no key, no password:")
	content, err := os.ReadFile(d.host.ConfigFile())
	if err != nil {
		return err
	}
	say("  | %s", strings.ReplaceAll(strings.TrimSpace(string(content)), "\n", "\n     | "))
	change, err := d.host.Install(ctx)
	if err != nil {
		return err
	}
	say("$ quaymaster install docker-runtime")
	say("  %s", strings.ReplaceAll(strings.TrimSpace(change), "\n", "\n     "))
	if err := d.host.StartAgent(ctx); err != nil {
		return err
	}
	login := regexp.MustCompile(`msg="identity found".*host="([^"]+)"(?s:.*)msg="logged in to Vault".*principal="?([^" ]+).*policies="?(\[[^]]*\])`)
	err = d.host.Await(ctx, "the login", func() bool { return login.MatchString(d.host.Log()) })
	if err != nil {
		return err
	}
	found := login.FindStringSubmatch(d.host.Log())
	say("identity found: %s", found[1])
	say("login accepted as %s, with policies %s", found[2], found[3])
	return nil
}

// labels are those of a Compose service that asks for two files and a variable.
func labels(service string) map[string]string {
	return map[string]string{
		"com.docker.compose.project": "shop",
		"com.docker.compose.service": service,
		"quaymaster.secret.password": "vault:kv/shop/db#password",
		"quaymaster.secret.user":     "vault:kv/shop/db#user",
		"quaymaster.env.DB_PASSWORD": "vault:kv/shop/db#password",
	}
}

func (d *demo) launch(ctx context.Context, service string) (string, error) {
	config := &container.Config{Image: engine.ProbeImage, Cmd: []string{"/probe", "/run/secrets", "watch"}, Labels: labels(service)}
	return d.host.Engine.Launch(ctx, config, &container.HostConfig{Runtime: host.Runtime})
}

func (d *demo) firstInstruction(ctx context.Context) (err error) {
	d.step("Starting the container of service db: FROM scratch, its first instruction looks at once")
	began := engine.Monotonic()
	if d.shop, err = d.launch(ctx, "db"); err != nil {
		return err
	}
	report, err := d.report(ctx, 1)
	if err != nil {
		return err
	}
	for line := range strings.Lines(d.host.Audit()) {
		if strings.Contains(line, d.shop) {
			say("policy: %s", summary(line))
		}
	}
	say("first instruction %d ms after docker start; it could read, at that moment:", (report.T0-began)/time.Millisecond)
	return d.check(report, first)
}

// summary is an audit record for one line.
func summary(record string) string {
	field := func(name string) string {
		found := regexp.MustCompile(`"` + name + `":"([^"]*)"`).FindStringSubmatch(record)
		if found == nil {
			return "-"
		}
		return found[1]
	}
	return fmt.Sprintf("%s %s %s = %s by grant %s, version %s, hmac %.12s…",
		field("decision"), field("kind"), field("name"), field("ref"), field("grant"), field("version"), field("hmac"))
}

func (d *demo) report(ctx context.Context, number int) (engine.Report, error) {
	var reports []engine.Report
	err := d.host.Await(ctx, fmt.Sprintf("report %d of the container", number), func() bool {
		reports, _ = d.host.Engine.Reports(ctx, d.shop) // again, if not now
		return len(reports) >= number
	})
	if err != nil {
		return engine.Report{}, err
	}
	return reports[number-1], nil
}

// check holds what the container saw against what Vault holds. The container
// tells fingerprints, because what it prints lands on a disk.
func (d *demo) check(report engine.Report, password string) error {
	for _, want := range []struct{ name, value string }{{"user", "shop"}, {"password", password}} {
		file := report.Files[want.name]
		same := file.Fingerprint == engine.Fingerprint([]byte(want.value))
		say("  /run/secrets/%-9s mode %04o  %2d bytes  fingerprint %s  the same as in Vault: %s",
			want.name, file.Mode, file.Length, file.Fingerprint, yesNo(same))
		if !same {
			return fmt.Errorf("file %s is not what Vault holds", want.name)
		}
	}
	if report.Writable {
		return errors.New("the container can write to its secrets")
	}
	variable := report.Env["DB_PASSWORD"].Fingerprint
	say("  $DB_PASSWORD %38s %s  the same as in Vault: %s", "fingerprint", variable, yesNo(variable == engine.Fingerprint([]byte(password))))
	if variable != engine.Fingerprint([]byte(first)) { // a running process keeps its environment
		return errors.New("the variable is not what Vault held when the container started")
	}
	return nil
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func (d *demo) searchPlaintext(ctx context.Context) error {
	d.step("Looking for the plaintext where it must not be")
	_, raw, err := d.host.Engine.Client().ContainerInspectWithRaw(ctx, d.shop, false)
	if err != nil {
		return err
	}
	onDisk, files, err := host.Search(d.host.Engine.DataRoot(), first)
	if err != nil {
		return err
	}
	for _, place := range []struct {
		name  string
		found bool
	}{
		{"docker inspect", strings.Contains(string(raw), first)},
		{fmt.Sprintf("%d files below the engine's data root", files), len(onDisk) > 0},
		{"the agent's log", strings.Contains(d.host.Log(), first)},
		{"the audit log", strings.Contains(d.host.Audit(), first)},
	} {
		say("%-40s found: %s", place.name, yesNo(place.found))
		if place.found {
			return fmt.Errorf("plaintext in %s", place.name)
		}
	}
	return nil
}

func (d *demo) refusal(ctx context.Context) error {
	d.step("Starting the container of service web, which asks for the same and was granted nothing")
	_, err := d.launch(ctx, "web")
	if err == nil {
		return errors.New("it started")
	}
	_, message, _ := strings.Cut(err.Error(), "quaymaster: ")
	say("it does not start, and whoever started it sees:")
	say("  %s", message)
	if !strings.Contains(message, "denied by policy") {
		return fmt.Errorf("the reason is another: %w", err)
	}
	return nil
}

func (d *demo) rotation(ctx context.Context) error {
	d.step("Rotating the password in Vault while the container runs")
	if err := d.host.Vault.PutSecret(ctx, "kv", "shop/db", map[string]any{"user": "shop", "password": second}); err != nil {
		return err
	}
	before := time.Now()
	report, err := d.report(ctx, 2)
	if err != nil {
		return err
	}
	say("%.1f s later (refresh: 1s) the running container, same process, sees:", time.Since(before).Seconds())
	if err := d.check(report, second); err != nil {
		return err
	}
	say("(a variable belongs to the process: it gets the new value at the container's next start)")
	return nil
}
