package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

// serve starts a stand-in.
func serve(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	server, err := cloudsim.Start(handler, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

// onEC2 makes this process run on an instance.
func onEC2(t *testing.T) *awssim.IMDS {
	t.Helper()
	account := awssim.NewAccount("123456789012", cloudsim.NewEnvironment(nil, nil))
	account.AddRole("/", "docker-host")
	service := awssim.NewIMDS(account, awssim.Instance{ID: "i-0abc", Region: "eu-west-1", AvailabilityZone: "eu-west-1a", Role: "docker-host"})
	t.Setenv("GCE_METADATA_HOST", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, service))
	return service
}

// onComputeEngine makes this process run on an instance.
func onComputeEngine(t *testing.T, account string) *gcpsim.Metadata {
	t.Helper()
	cloud := gcpsim.NewCloud(cloudsim.NewEnvironment(nil, nil))
	service := cloud.AddInstance(gcpsim.Instance{Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1", ServiceAccount: account})
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "")
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(serve(t, service), "http://"))
	return service
}

const bakedGrants = `grants: [{name: db, workloads: {compose.service: db}, secrets: ["vault:kv/shop/db"]}]
docker: {host: unix:///nowhere/docker.sock, plugin_dir: /nowhere/plugins}
paths: {run: /nowhere/run, state: /nowhere/state}
audit: {file: /nowhere/audit.jsonl}
`

// image is what was baked: the main configuration file says text.
func image(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "quaymaster.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var vaultTags = map[string]string{"quaymaster-vault-address": "https://127.0.0.1:1", "quaymaster-vault-role": "docker-host"}

func TestConfigureOnEC2(t *testing.T) {
	service, file := onEC2(t), image(t, bakedGrants)
	service.SetTags(vaultTags)
	if err := configure(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	c, _, err := loadConfig(file)
	if err != nil || c.Vault.Address != "https://127.0.0.1:1" || c.Vault.Role != "docker-host" {
		t.Errorf("%+v, %v", c.Vault, err)
	}
	if got := origins(file); got != "; vault from the tags of i-0abc" {
		t.Errorf("%q", got)
	}
	found := configuration(file, c, nil, nil)
	if len(found) != 1 || !strings.HasSuffix(found[0].Found, "1 grants, 1 Vault servers, 0 cloud stores; vault from the tags of i-0abc") {
		t.Errorf("%+v", found)
	}
}

func TestConfigureOnComputeEngine(t *testing.T) {
	service, file := onComputeEngine(t, ""), image(t, "# nothing\n")
	service.SetAttribute("user-data", "#cloud-config\nwrite_files:\n  - path: "+file+"\n    content: |\n      "+strings.ReplaceAll(bakedGrants, "\n", "\n      ")+"\n")
	service.SetAttribute("quaymaster-config", "vault: {address: https://127.0.0.1:1, role: docker-host}\n")
	if err := configure(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	c, _, err := loadConfig(file)
	if err != nil || c.Vault.Role != "docker-host" || len(c.Grants) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestConfigureOnNoCloud: such a machine's files say everything, and nothing is
// waited for.
func TestConfigureOnNoCloud(t *testing.T) {
	t.Setenv("GCE_METADATA_HOST", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1") // nobody is asked
	if err := configure(t.Context(), image(t, "identity: token-file\n")); err != nil {
		t.Error(err)
	}
}

// TestWhatIsWrongWithAnInstance is told by configure, with the exit code that
// its help promises, and by the doctor until it is right.
func TestWhatIsWrongWithAnInstance(t *testing.T) {
	for name, c := range map[string]struct {
		given  func(service *awssim.IMDS)
		code   int
		wants  error
		says   string
		remedy string
	}{
		"missing address": {func(s *awssim.IMDS) { s.SetTags(map[string]string{"quaymaster-vault-role": "docker-host"}) },
			exitConfig, nil, "the tags of i-0abc: vault.address: is missing", "correct what the instance was given"},
		"misspelt tag": {func(s *awssim.IMDS) {
			s.SetTags(map[string]string{"quaymaster-vault-adress": "https://vault.internal"})
		},
			exitConfig, nil, "tag quaymaster-vault-adress of instance i-0abc: unknown key, did you mean vault-address?", "correct what the instance was given"},
		"user-data that is wrong": {func(s *awssim.IMDS) { s.SetUserData("#cloud-config\nwrite_files: {}\n") },
			exitConfig, nil, "the user-data of i-0abc:2:1: write_files is not a list", "correct what the instance was given"},
		"metadata turned off": {func(s *awssim.IMDS) { s.Set("", awssim.TurnedOff) },
			exitFailed, auth.ErrNoIdentity, "turned off for this instance", "let this host reach its metadata service"},
	} {
		t.Run(name, func(t *testing.T) {
			service, file := onEC2(t), image(t, bakedGrants)
			c.given(service)
			err := configure(t.Context(), file)
			if exitCode(err) != c.code || !strings.Contains(err.Error(), c.says) || c.wants != nil && !errors.Is(err, c.wants) {
				t.Errorf("exit code %d, %v", exitCode(err), err)
			}
			findings, diagnosis := diagnose(t.Context(), file)
			if !hasFinding(findings, "configuration", statusFailed, c.says, c.remedy) || exitCode(diagnosis) != exitConfig {
				t.Errorf("%+v, %v", findings, diagnosis)
			}
			service.Clear("")
			service.SetUserData("")
			service.SetTags(vaultTags)
			if err := configure(t.Context(), file); err != nil {
				t.Fatal(err)
			}
			if findings, _ := diagnose(t.Context(), file); hasFinding(findings, "configuration", statusFailed, "", "") {
				t.Errorf("when it is right: %+v", findings[0])
			}
		})
	}
}

func hasFinding(findings []finding, check, status, found, remedy string) bool {
	for _, f := range findings {
		if f.Check == check && f.Status == status && strings.Contains(f.Found, found) && strings.Contains(f.Remedy, remedy) {
			return true
		}
	}
	return false
}

// TestMetadataThatDoesNotAnswer leaves what was configured before, and the
// doctor says so.
func TestMetadataThatDoesNotAnswer(t *testing.T) {
	service, file := onEC2(t), image(t, bakedGrants)
	service.SetTags(vaultTags)
	if err := configure(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	service.Set("/latest/api/token", awssim.TooFar)
	before := service.Count("PUT", "/latest/api/token")
	err := configure(t.Context(), file)
	if exitCode(err) != exitFailed || !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("exit code %d, %v", exitCode(err), err)
	}
	c, _, err := loadConfig(file)
	if err != nil || c.Vault.Role != "docker-host" {
		t.Errorf("%+v, %v", c.Vault, err)
	}
	if found := configuration(file, c, nil, nil); !hasFinding(found, "configuration", statusWarning, "what was configured before counts", "systemctl restart quaymaster-configure") {
		t.Errorf("%+v", found)
	}
	if n := service.Count("PUT", "/latest/api/token") - before; n != metadataTries {
		t.Errorf("it was asked %d times", n)
	}
}

// TestConfigureIsGivenUp with its context.
func TestConfigureIsGivenUp(t *testing.T) {
	service, file := onEC2(t), image(t, bakedGrants)
	service.Set("", cloudsim.Fault{Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := configure(ctx, file); err == nil {
		t.Error("it was done")
	}
	if n := service.Count("", "/latest/api/token"); n > 1 {
		t.Errorf("it asked %d times", n)
	}
}

// TestAnInstanceWithoutIdentity: the doctor's line says what to give it.
func TestAnInstanceWithoutIdentity(t *testing.T) {
	onComputeEngine(t, "")
	findings, _ := diagnose(t.Context(), image(t, "vault: {address: https://127.0.0.1:1, role: docker-host}\n"+bakedGrants))
	if !hasFinding(findings, "identity", statusFailed, "this instance has no service account", "create the instance with a service account") {
		t.Errorf("%+v", findings)
	}
}

// TestTheConsole: one line when the host is ready; else what is not well, each
// line with its beginning.
func TestTheConsole(t *testing.T) {
	for want, findings := range map[string][]finding{
		"quaymaster: this host is ready: aws: role/x; 3 grants\n": {
			named("configuration", fine("3 grants")), named("identity", fine("aws: role/x")), named("clock", fine("right"))},
		"quaymaster: this host is ready: aws: role/x; 3 grants (1 warnings: quaymaster doctor)\n": {
			named("configuration", fine("3 grants")), named("identity", fine("aws: role/x")), named("clock", doubt("set it", "wrong"))},
		"quaymaster: failed: login vault: refused. What to do: see the role\nquaymaster: warning: clock: wrong. What to do: set it\n": {
			named("configuration", fine("3 grants")), named("login vault", wrong("see the role", "refused")), named("clock", doubt("set it", "wrong"))},
		"quaymaster: failed: configuration: is empty; write vault: {…}. What to do: correct it\n": {
			named("configuration", wrong("correct it", "is empty; write\n\nvault: {…}\n"))},
	} {
		var out bytes.Buffer
		if err := printBoot(&out, findings); err != nil || out.String() != want {
			t.Errorf("%q, want %q; %v", out.String(), want, err)
		}
	}
}

// TestTheBootEnds: a host that does not become ready is told of all the same.
func TestTheBootEnds(t *testing.T) {
	onEC2(t)
	findings, err := diagnoseBoot(t.Context(), image(t, "vault: {address: https://127.0.0.1:1, role: docker-host}\n"+bakedGrants), time.Second)
	if !errors.Is(err, errAnswered) || !hasFinding(findings, "vault vault", statusFailed, "connection refused", "check vault.address") {
		t.Errorf("%+v, %v", findings, err)
	}
	_, err = diagnoseBoot(t.Context(), image(t, ""), time.Hour) // a configuration that is wrong is told at once
	if _, is := errors.AsType[config.Problems](err); !is {
		t.Errorf("%v", err)
	}
}
