//go:build integration

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/engine"
)

// TestBadInputIsExplained: whoever starts the container sees what is wrong,
// with the label or the ref, and what to do.
func TestBadInputIsExplained(t *testing.T) {
	const ref = "vault:kv/shop/db#password"
	for name, c := range map[string]struct {
		labels map[string]string
		want   []string
	}{
		"unknown label key": {labels("quaymaster.secrets.a", ref),
			[]string{"label quaymaster.secrets.a: unknown key; the keys are quaymaster.secret.<name>"}},
		"ref that does not parse": {labels("quaymaster.secret.a", "kv/shop/db"),
			[]string{`label quaymaster.secret.a: ref "kv/shop/db": a ref starts with its provider and a colon`}},
		"ref that leads elsewhere": {labels("quaymaster.secret.a", "vault:kv/shop/%2e%2e/other/db"),
			[]string{`".." is not allowed in a path`}},
		"unknown provider": {labels("quaymaster.secret.a", "valt:kv/shop/db#password"),
			[]string{"file a (valt:kv/shop/db#password): there is no provider \"valt\"", "the providers are: vault"}},
		"secret missing": {labels("quaymaster.secret.a", "vault:kv/shop/nothing"),
			[]string{"file a (vault:kv/shop/nothing): Vault at https://127.0.0.1:", "not found: there is nothing at kv/data/shop/nothing"}},
		"field missing": {labels("quaymaster.secret.a", "vault:kv/shop/db#passwort"),
			[]string{`not found: there is no field "passwort"; the fields are: password, user`}},
		"field not chosen": {labels("quaymaster.secret.a", "vault:kv/shop/db"),
			[]string{"the secret has 2 fields; choose one by adding #<field> to the ref: password, user"}},
		"version missing": {labels("quaymaster.secret.a", "vault:kv/shop/db#password@99"),
			[]string{"not found: there is nothing at kv/data/shop/db in version 99"}},
		"version on version 1": {labels("quaymaster.secret.a", "vault:kv1/shop/legacy@2"),
			[]string{"keeps no versions: leave out @2"}},
		"not granted": {labels("quaymaster.secret.a", "vault:kv/other/db#password"),
			[]string{`denied by policy: no grant of this container lists it (grants that match the container: "shop")`}},
		"grant that matches nothing": {map[string]string{"app": "warehouse", "quaymaster.secret.a": ref},
			[]string{`grant "shop" lists it, but it is for label.app=shop and this container has label.app=warehouse`}},
		"name with a slash": {labels("quaymaster.secret.a/b", ref),
			[]string{`label quaymaster.secret.a/b: the name "a/b" contains a slash`}},
		"name that climbs": {labels("quaymaster.secret...", ref),
			[]string{"may not be a dot or begin with two"}},
		"variable name": {labels("quaymaster.env.A B", ref),
			[]string{`label quaymaster.env.A B: "A B" is not a name for an environment variable`}},
		"two at once": {labels("quaymaster.secret.a", "x", "quaymaster.mode", "0777"),
			[]string{"label quaymaster.secret.a", "label quaymaster.mode"}},
	} {
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, probe("once", c.labels), gated(), c.want...)
		})
	}
}

// checkRefusal starts what must not start, and looks for what its user must be told.
func checkRefusal(t *testing.T, config *container.Config, hostConfig *container.HostConfig, wants ...string) {
	t.Helper()
	message := refused(t, h, config, hostConfig)
	for _, want := range append(wants, "quaymaster: ") {
		if !strings.Contains(message, want) {
			t.Errorf("the message does not say %q:\n%s", want, message)
		}
	}
	if strings.Contains(message, password) {
		t.Error("the message holds the secret")
	}
}

func TestMountInTheWay(t *testing.T) {
	for target, mountable := range map[string]string{"/run/secrets": "at /run/secrets", "/run/secrets/mine": "at /run/secrets/mine"} {
		hostConfig := gated()
		hostConfig.Binds = []string{t.TempDir() + ":" + target}
		checkRefusal(t, probe("once", three()), hostConfig, "it already mounts something "+mountable, "quaymaster.path")
	}
	hostConfig := gated()
	hostConfig.Tmpfs = map[string]string{"/run": ""}
	if err := checkThree(runProbe(t, h, probe("once", three()), hostConfig)); err != nil {
		t.Errorf("a tmpfs above it: %v", err)
	}
}

func TestLargeValues(t *testing.T) {
	put := func(name string, value any) {
		t.Helper()
		if err := h.Vault.PutSecret(soon(t), "kv", name, map[string]any{"v": value}); err != nil {
			t.Fatal(err)
		}
	}
	largest := strings.Repeat("x", secret.MaxValueSize)
	put("shop/largest", largest)
	report := runProbe(t, h, probe("once", labels("quaymaster.secret.v", "vault:kv/shop/largest")), gated())
	if file := report.Files["v"]; file.Length != secret.MaxValueSize || file.Fingerprint != engine.Fingerprint([]byte(largest)) {
		t.Errorf("a value of 1 MiB arrives as %+v", file)
	}
	half := strings.Repeat("x", secret.MaxValueSize/2)
	put("shop/toolarge", []string{half, half}) // Vault takes no longer string; this one's JSON has seven bytes more
	checkRefusal(t, probe("once", labels("quaymaster.secret.v", "vault:kv/shop/toolarge")), gated(), "the content has more than 1048576 bytes, which is the limit")
	put("shop/variable", strings.Repeat("x", 140_000))
	checkRefusal(t, probe("once", labels("quaymaster.env.V", "vault:kv/shop/variable")), gated(),
		"env V (vault:kv/shop/variable): the value has 140000 bytes, too many for an environment variable")
}

func TestTwoHundredSecretsOnOneContainer(t *testing.T) {
	many := labels()
	for n := range 200 {
		name := fmt.Sprintf("s%03d", n)
		if err := h.Vault.PutSecret(soon(t), "kv", "shop/many/"+name, map[string]any{"v": "value of " + name}); err != nil {
			t.Fatal(err)
		}
		many["quaymaster.secret."+name] = "vault:kv/shop/many/" + name
	}
	report := runProbe(t, h, probe("once", many), gated())
	if len(report.Files) != 200 {
		t.Errorf("%d files of 200", len(report.Files))
	}
	for name, file := range report.Files {
		if file.Fingerprint != engine.Fingerprint([]byte("value of "+name)) {
			t.Errorf("file %s is not its secret", name)
		}
	}
}

// TestVaultFails: what a held secret and one that is not held do while Vault
// is sealed, and that all is well when it is back.
func TestVaultFails(t *testing.T) {
	ctx := soon(t)
	held, err := h.Engine.Launch(ctx, probe("watch", three()), gated())
	if err != nil {
		t.Fatal(err)
	}
	defer remove(t, h, held)
	if err := h.Vault.PutSecret(ctx, "kv", "shop/cold", map[string]any{"v": "1"}); err != nil {
		t.Fatal(err)
	}
	if err := realVault().Seal(ctx); err != nil {
		t.Fatal(err)
	}
	checkRefusal(t, probe("once", labels("quaymaster.secret.v", "vault:kv/shop/cold")), gated(), "secret store unavailable", "sealed")
	time.Sleep(1200 * time.Millisecond) // past the refresh interval: what is held is no longer fresh
	if err := checkThree(runProbe(t, h, probe("once", three()), gated())); err != nil {
		t.Errorf("what is held does not serve a start while Vault is sealed: %v", err)
	}
	if !strings.Contains(h.Audit(), `"stale":true`) {
		t.Error("the audit log does not say that the value was stale")
	}
	if err := realVault().Unseal(ctx); err != nil {
		t.Fatal(err)
	}
	runProbe(t, h, probe("once", labels("quaymaster.secret.v", "vault:kv/shop/cold")), gated())
	reports, err := h.Engine.Reports(ctx, held)
	if err != nil || len(reports) != 1 {
		t.Errorf("the running container noticed the outage: %d reports, %v", len(reports), err)
	}
}

func TestVaultDeniesARead(t *testing.T) {
	if err := realVault().MountKV(soon(t), "private", 2); err != nil {
		t.Fatal(err)
	}
	reconfigure(t, h, "gate_timeout: 5s\n"+strings.Replace(grants, `"vault:kv1/shop/**"`, `"vault:kv1/shop/**", "vault:private/**"`, 1))
	checkRefusal(t, probe("once", labels("quaymaster.secret.v", "vault:private/db")), gated(), "denied by the secret store", "403")
}

func TestVaultCannotBeReached(t *testing.T) {
	reconfigure(t, h, fmt.Sprintf("vault: {address: %q, role: docker-host, ca_file: %q}\n%s", "https://127.0.0.1:1", h.Vault.CAFile(), plain))
	checkRefusal(t, probe("once", three()), gated(), "secret store unavailable", "Vault at https://127.0.0.1:1", "cannot be reached", "check vault.address")
}

func TestVaultCertificateIsNotTrusted(t *testing.T) {
	reconfigure(t, h, fmt.Sprintf("vault: {address: %q, role: docker-host}\n%s", h.Vault.Address(), plain))
	checkRefusal(t, probe("once", three()), gated(), "certificate is not trusted", "set vault.ca_file")
}

func TestLoginIsRefused(t *testing.T) {
	for setting, want := range map[string]string{
		"server_id: elsewhere": "X-Vault-AWS-IAM-Server-ID",
		"role: nobody":         `role "nobody"`,
	} {
		t.Run(setting, func(t *testing.T) {
			settings := map[string]string{"server_id": "server_id: vault.quaymaster.test", "role": "role: docker-host"}
			key, _, _ := strings.Cut(setting, ":")
			settings[key] = setting
			reconfigure(t, h, fmt.Sprintf("vault: {address: %q, %s, %s, ca_file: %q}\n%s",
				h.Vault.Address(), settings["server_id"], settings["role"], h.Vault.CAFile(), plain))
			checkRefusal(t, probe("once", three()), gated(), "no token: login refused", "400", want)
		})
	}
}

// TestNoIdentity: the metadata service is absent, slow, of version 1 only, or
// the instance has no role.
func TestNoIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		begin, end func()
		want       []string
	}{
		"absent": {func() { h.IMDS.Set("", awssim.Absent) }, func() { h.IMDS.Clear("") }, []string{"this machine has no cloud identity"}},
		"slow": {func() { h.IMDS.Set("", cloudsim.Fault{Delay: time.Minute}) }, func() { h.IMDS.Clear("") },
			[]string{"login not possible now"}},
		"version 1 only": {func() { h.IMDS.SetMode(awssim.NoTokens) }, func() { h.IMDS.SetMode(awssim.TokensRequired) }, []string{"IMDSv2"}},
		"no role":        {func() { h.IMDS.SetRole("") }, func() { h.IMDS.SetRole("docker-host") }, []string{"attach"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.begin()
			t.Cleanup(c.end) // before reconfigure's: cleanups run last first
			reconfigure(t, h, plain)
			message := refused(t, h, probe("once", three()), gated())
			for _, want := range append(c.want, "no token") {
				if !strings.Contains(message, want) {
					t.Errorf("the message does not say %q:\n%s", want, message)
				}
			}
			c.end()
		})
	}
}

// TestConfigurationIsExplained runs validate and agent on what is wrong.
func TestConfigurationIsExplained(t *testing.T) {
	if err := h.Configure("gate_timeot: 3s\n" + grants); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Configure(plain); err != nil {
			t.Error(err)
		}
	})
	for _, command := range []string{"validate", "agent"} {
		_, stderr, err := h.Quaymaster(soon(t), command, "--config", h.ConfigFile())
		if err == nil || !strings.Contains(stderr, h.ConfigFile()+":5:1: ") || !strings.Contains(stderr, "gate_timeot") || !strings.Contains(stderr, "gate_timeout") {
			t.Errorf("%s: %v: %s", command, err, stderr)
		}
	}
}
