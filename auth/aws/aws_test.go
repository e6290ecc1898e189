package aws_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an AWS account with one instance, whose metadata service the
// environment points to.
type world struct {
	account *awssim.Account
	imds    *awssim.IMDS
	sts     string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clearVariables(t)
	env := cloudsim.NewEnvironment(nil, rand.NewPCG(1, 2))
	account := awssim.NewAccount("111122223333", env)
	account.AddRole("/", "docker-host")
	w := &world{account: account, imds: awssim.NewIMDS(account, awssim.Instance{
		ID: "i-0123456789abcdef0", Region: "eu-west-1", AvailabilityZone: "eu-west-1a", Role: "docker-host",
	})}
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, w.imds))
	w.sts = serve(t, awssim.NewSTS(account, "us-east-1"))
	t.Setenv("AWS_ENDPOINT_URL_STS", w.sts)
	return w
}

// clearVariables keeps whatever the tests run in from being taken for a cloud.
func clearVariables(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "ECS_") {
			t.Setenv(name, "")
		}
	}
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server, err := cloudsim.Start(handler, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

func attest(t *testing.T, options aws.Options, audience string) (auth.Evidence, error) {
	t.Helper()
	attestor, err := aws.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return attestor.Attest(t.Context(), audience)
}

// request unpacks the signed request from evidence, as Vault does.
func request(t *testing.T, evidence auth.Evidence) *http.Request {
	t.Helper()
	field := func(name string) string {
		decoded, err := base64.StdEncoding.DecodeString(string(evidence.Login[name].Reveal())) // to be checked by the stand-in for STS
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return string(decoded)
	}
	r, err := http.NewRequest(string(evidence.Login["iam_http_request_method"].Reveal()), field("iam_request_url"), strings.NewReader(field("iam_request_body"))) // as above
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(field("iam_request_headers")), &r.Header); err != nil {
		t.Fatal(err)
	}
	return r
}

// send sends a request without changing it, and returns the answer.
func send(t *testing.T, r *http.Request) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func TestEvidenceIsTheInstanceRole(t *testing.T) {
	newWorld(t)
	// Keys of the environment and of files are not this machine's identity.
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIASTATIC")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "static")
	t.Setenv("AWS_SESSION_TOKEN", "static")
	for audience, header := range map[string]string{"vault.internal": "vault.internal", "": ""} {
		evidence, err := attest(t, aws.Options{}, audience)
		if err != nil {
			t.Fatal(err)
		}
		if want := "arn:aws:iam::111122223333:role/docker-host on i-0123456789abcdef0 (eu-west-1)"; evidence.Principal != want || evidence.Method != "aws" {
			t.Errorf("%s: %s, want %s", evidence.Method, evidence.Principal, want)
		}
		r := request(t, evidence)
		if got := r.Header.Get("X-Vault-AWS-IAM-Server-ID"); got != header {
			t.Errorf("the server ID is %q, want %q", got, header)
		}
		if signed := strings.Contains(r.Header.Get("Authorization"), "x-vault-aws-iam-server-id"); signed != (header != "") {
			t.Errorf("the server ID is signed: %v", signed)
		}
		status, body := send(t, r)
		if status != http.StatusOK || !strings.Contains(body, "arn:aws:sts::111122223333:assumed-role/docker-host/i-0123456789abcdef0") {
			t.Errorf("STS answers %d: %s", status, body)
		}
	}
}

// The signature covers what Vault relies on.
func TestTamperedEvidenceIsWorthNothing(t *testing.T) {
	newWorld(t)
	for name, tamper := range map[string]func(*http.Request){
		"server ID": func(r *http.Request) { r.Header.Set("X-Vault-AWS-IAM-Server-ID", "other.internal") },
		"body": func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("Action=GetCallerIdentity&Version=2011-06-16"))
		},
		"date": func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().UTC().Add(time.Minute).Format("20060102T150405Z"))
		},
		"no token": func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") },
	} {
		evidence, err := attest(t, aws.Options{}, "vault.internal")
		if err != nil {
			t.Fatal(err)
		}
		r := request(t, evidence)
		tamper(r)
		if status, body := send(t, r); status != http.StatusForbidden {
			t.Errorf("%s: STS answers %d: %s", name, status, body)
		}
	}
}

// Each way in which there is no identity, with what the person reads.
func TestNoEvidence(t *testing.T) {
	redirect := serve(t, http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound))
	const tokenPath, docPath = "/latest/api/token", "/latest/dynamic/instance-identity/document"
	for name, c := range map[string]struct {
		arrange func(t *testing.T, w *world)
		kind    error
		want    []string
	}{
		"absent": {func(t *testing.T, _ *world) { t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+closedPort(t)) },
			auth.ErrNoIdentity, []string{"reading the instance identity document from EC2's metadata service at http://127.0.0.1:", "nothing answers", "is this an EC2 instance"}},
		"disabled here": {func(t *testing.T, _ *world) { t.Setenv("AWS_EC2_METADATA_DISABLED", "true") },
			auth.ErrNoIdentity, []string{"AWS_EC2_METADATA_DISABLED is true", "unset it"}},
		"bad mode": {func(t *testing.T, _ *world) { t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5") },
			auth.ErrNoIdentity, []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6 or IPv4"}},
		"turned off": {func(_ *testing.T, w *world) { w.imds.Set("", awssim.TurnedOff) },
			auth.ErrNoIdentity, []string{"turned off for this instance", "--http-endpoint enabled"}},
		"something else": {func(_ *testing.T, w *world) { w.imds.Set(tokenPath, cloudsim.Fault{Status: 200, Body: "hello"}) },
			auth.ErrNoIdentity, []string{"something else answers there", "no session token"}},
		"redirect": {func(t *testing.T, _ *world) { t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", redirect) },
			auth.ErrNoIdentity, []string{"something else answers there", "redirect"}},
		"too large": {func(_ *testing.T, w *world) {
			w.imds.Set(docPath, cloudsim.Fault{Status: 200, Body: strings.Repeat("x", 1<<20)})
		},
			auth.ErrNoIdentity, []string{"something else answers there", "larger than 65536 bytes"}},
		"version 1 only": {func(_ *testing.T, w *world) { w.imds.SetMode(awssim.NoTokens) },
			auth.ErrNoIdentity, []string{"IMDSv1 only; IMDSv2 is required", "--http-tokens required"}},
		"no role": {func(_ *testing.T, w *world) { w.imds.SetRole("") },
			auth.ErrNoIdentity, []string{"has no IAM role: attach an instance profile"}},
		"a role that EC2 cannot assume": {func(_ *testing.T, w *world) { w.imds.SetRole("gone") },
			auth.ErrNoIdentity, []string{`no keys for role gone ("AssumeRoleUnauthorizedAccess")`, "trust policy lets ec2.amazonaws.com assume it"}},
		"role taken away meanwhile": {func(_ *testing.T, w *world) {
			w.imds.Set("/latest/meta-data/iam/security-credentials/docker-host", awssim.Absent)
		}, auth.ErrNoIdentity, []string{"attach an instance profile"}},
		"expired keys": {func(_ *testing.T, w *world) { w.imds.SetExpired(true) },
			auth.ErrUnavailable, []string{"role/docker-host on i-0123456789abcdef0 (eu-west-1) was given keys of its role that ended at"}},
		"too far away": {func(_ *testing.T, w *world) { w.imds.Set(awssim.TokenPath, awssim.TooFar) },
			auth.ErrUnavailable, []string{"did not answer in time", "--http-put-response-hop-limit 2"}},
		"throttled": {func(_ *testing.T, w *world) { w.imds.Set(docPath, awssim.Throttled) },
			auth.ErrUnavailable, []string{"it answers 503"}},
		"reset": {func(_ *testing.T, w *world) { w.imds.Set("", cloudsim.Fault{Reset: true}) },
			auth.ErrUnavailable, []string{"no usable answer", "connection reset"}},
		"half an answer": {func(_ *testing.T, w *world) { w.imds.Set(docPath, cloudsim.Fault{Status: 200, Body: `{"accountId`}) },
			auth.ErrUnavailable, []string{"no usable answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.arrange(t, w)
			_, err := attest(t, aws.Options{}, "vault.internal")
			if !errors.Is(err, c.kind) {
				t.Fatalf("%v is not %v", err, c.kind)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %s", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %v", err)
			}
		})
	}
}

func TestGivingUp(t *testing.T) {
	newWorld(t)
	attestor, err := aws.New(aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := attestor.Attest(ctx, ""); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "given up") {
		t.Errorf("%v", err)
	}
}

// A metadata service that failed once is asked afresh the next time.
func TestRecovery(t *testing.T) {
	w := newWorld(t)
	attestor, err := aws.New(aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []cloudsim.Fault{awssim.TurnedOff, awssim.Absent, {Reset: true}} {
		w.imds.Set("", fault)
		if _, err := attestor.Attest(t.Context(), ""); err == nil {
			t.Errorf("%+v: no error", fault)
		}
		w.imds.Clear("")
		if _, err := attestor.Attest(t.Context(), ""); err != nil {
			t.Errorf("after %+v: %v", fault, err)
		}
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
