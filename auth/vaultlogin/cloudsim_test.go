package vaultlogin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/lease"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
)

const serverID = "vault.internal"

// cloud is an AWS account with one instance, on whose metadata service the
// environment's variable points.
type cloud struct {
	imds *awssim.IMDS
	iam  *awssim.Service // STS
	sts  string          // its URL
	env  *cloudsim.Environment
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	env := cloudsim.NewEnvironment(nil, rand.NewPCG(1, 2))
	account := awssim.NewAccount("111122223333", env)
	account.AddRole("/", "docker-host")
	account.AddRole("/", "somebody-else")
	c := &cloud{env: env, iam: awssim.NewSTS(account, "us-east-1"), imds: awssim.NewIMDS(account, awssim.Instance{
		ID: "i-0123456789abcdef0", Region: "eu-west-1", AvailabilityZone: "eu-west-1a", Role: "docker-host",
	})}
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, c.imds, cloudsim.Options{}))
	c.sts = serve(t, c.iam, cloudsim.Options{})
	t.Setenv("AWS_ENDPOINT_URL_STS", "") // what a host signs for is the real STS
	return c
}

func serve(t *testing.T, handler http.Handler, options cloudsim.Options) string {
	t.Helper()
	server, err := cloudsim.Start(handler, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

// newStandIn is a stand-in for Vault that accepts the cloud's instance.
func newStandIn(t *testing.T, c *cloud) *vaultsim.Vault {
	t.Helper()
	v := vaultsim.New(c.env)
	v.EnableAWS(vaultsim.AWSAuth{Mount: "aws", STS: c.sts, ServerID: serverID})
	v.PutPolicy("shop", "kv/data/shop/*")
	if err := v.MountKV("kv", 2); err != nil {
		t.Fatal(err)
	}
	if _, err := v.PutSecret("kv", "shop/db", map[string]any{"password": "correct horse"}); err != nil {
		t.Fatal(err)
	}
	role := vaultsim.IAMRole{Mount: "aws", Name: "docker-host", Principal: "arn:aws:iam::111122223333:role/docker-host",
		Policies: []string{"shop"}, TTL: time.Hour}
	if err := v.PutRole(role); err != nil {
		t.Fatal(err)
	}
	return v
}

// login is a source with the real attestor, and the client it uses.
type login struct {
	*vaultlogin.Source
	client *vaultclient.Client
	log    *logText
	stop   func() // ends Run and waits for it; the end of the test does
}

// logIn runs a source against the Vault at config until the test ends. Its
// backoff is short, for these tests run on real time.
func logIn(t *testing.T, config vaultclient.Config, change ...func(*vaultlogin.Options)) *login {
	t.Helper()
	attestor, err := aws.New(aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := vaultclient.New(config)
	if err != nil {
		t.Fatal(err)
	}
	l := &login{client: client, log: &logText{}}
	options := vaultlogin.Options{
		Client: client, Attestor: attestor, Role: "docker-host", Audience: serverID, Logger: l.log.logger(),
		Backoff: lease.Backoff{First: 10 * time.Millisecond, Max: 100 * time.Millisecond},
	}
	for _, f := range change {
		f(&options)
	}
	if l.Source, err = vaultlogin.New(options); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		client.CloseIdleConnections()
		noSecrets(t, l.log.String())
	})
	t.Cleanup(l.stop)
	return l
}

// reads fails unless the secret can be read with token.
func (l *login) reads(t *testing.T, token auth.Token) {
	t.Helper()
	answer, err := l.client.With(token.Value).Logical().ReadWithContext(t.Context(), "kv/data/shop/db")
	if err != nil || answer.Data["data"].(map[string]any)["password"] != "correct horse" {
		t.Errorf("reading a secret: %v, %v", answer, err)
	}
}

// until waits for a condition that the loop brings about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in half a minute: %s", what)
		}
	}
}

func TestStandIn(t *testing.T) {
	c := newCloud(t)
	v := newStandIn(t, c)
	l := logIn(t, vaultclient.Config{Address: serve(t, v, cloudsim.Options{})})
	together(100, func() { within(t, l.Source, 30*time.Second) })
	if n := v.Count("update", "auth/aws/login"); n != 1 {
		t.Errorf("100 callers made %d logins", n)
	}
	token := within(t, l.Source, time.Second)
	l.reads(t, token)
	if token.Principal != "arn:aws:iam::111122223333:role/docker-host on i-0123456789abcdef0 (eu-west-1)" {
		t.Errorf("the principal is %q", token.Principal)
	}

	v.RevokeTokens()
	together(20, func() {
		if retry, err := l.Refused(t.Context(), token); !retry || err != nil {
			t.Errorf("a revoked token: retry %v, %v", retry, err)
		}
		within(t, l.Source, 30*time.Second)
	})
	l.reads(t, within(t, l.Source, time.Second))
	if n := v.Count("update", "auth/aws/login"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

func TestStandInFaults(t *testing.T) {
	c := newCloud(t)
	v := newStandIn(t, c)
	url := serve(t, v, cloudsim.Options{})
	clear := func() { v.Clear("") }
	for name, fault := range map[string]struct {
		set, mend func()
		want      string
	}{
		"sealed":       {func() { v.SetSealed(true) }, func() { v.SetSealed(false) }, "Vault is sealed"},
		"failing":      {func() { v.Set("", vaultsim.Failing) }, clear, "Vault failed (500): internal error"},
		"rate limited": {func() { v.Set("", vaultsim.RateLimited(1)) }, clear, "Vault limits requests (429)"},
		"a proxy":      {func() { v.Set("", vaultsim.Foreign) }, clear, "what answered 502 is not Vault's API"},
		"garbage":      {func() { v.Set("", vaultsim.Garbage) }, clear, "the answer"},
		"reset":        {func() { v.Set("", cloudsim.Fault{Reset: true}) }, clear, "Vault cannot be reached"},
		"slow":         {func() { v.Set("", cloudsim.Fault{Delay: time.Minute}) }, clear, "Vault did not answer in time"},
		"no identity":  {func() { c.imds.SetRole("") }, func() { c.imds.SetRole("docker-host") }, "attach an instance profile"},
	} {
		t.Run(name, func(t *testing.T) {
			fault.set()
			l := logIn(t, vaultclient.Config{Address: url, Timeout: time.Second})
			until(t, name+" is noticed", func() bool { return l.State().Err != nil })
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := l.Token(ended)
			kind := auth.ErrUnavailable
			if name == "no identity" {
				kind = auth.ErrNoIdentity
			}
			wantError(t, err, kind, fault.want)
			fault.mend()
			until(t, "the login", func() bool { return l.State().LoggedIn })
			l.reads(t, within(t, l.Source, time.Second))
		})
	}
}

func TestStandInTLS(t *testing.T) {
	c := newCloud(t)
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, newStandIn(t, c), cloudsim.Options{Authority: authority})
	distrusting := logIn(t, vaultclient.Config{Address: url})
	until(t, "the distrust", func() bool { return distrusting.State().Err != nil })
	wantError(t, distrusting.State().Err, auth.ErrUnavailable, "certificate is not trusted")
	wantError(t, distrusting.State().Err, auth.ErrUnavailable, "set vault.ca_file")

	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := logIn(t, vaultclient.Config{Address: url, CAFile: ca})
	trusting.reads(t, within(t, trusting.Source, 30*time.Second))
}

// What Vault passes on from STS repeats the signed request, session token
// included; none of it may reach an error or the log.
func TestSignatureErrorsAreNotRepeated(t *testing.T) {
	c := newCloud(t)
	evidence := &tampered{sessionToken: make(chan string, 2)}
	l := logIn(t, vaultclient.Config{Address: serve(t, newStandIn(t, c), cloudsim.Options{})},
		func(o *vaultlogin.Options) { evidence.Attestor, o.Attestor = o.Attestor, evidence })
	until(t, "the refusal", func() bool { return l.State().Err != nil })
	wantError(t, l.State().Err, auth.ErrRefused, "SignatureDoesNotMatch")
	for _, text := range []string{l.State().Err.Error(), l.log.String()} {
		if token := <-evidence.sessionToken; len(token) < 100 || strings.Contains(text, token[:50]) {
			t.Errorf("the session token is in: %s", text)
		}
	}
}

// tampered changes the signed body of the evidence in a way that only STS can
// notice.
type tampered struct {
	auth.Attestor
	sessionToken chan string // twice the one that the first evidence was signed with
}

func (a *tampered) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	evidence, err := a.Attestor.Attest(ctx, audience)
	if err != nil {
		return evidence, err
	}
	var headers http.Header
	packed, err := base64.StdEncoding.DecodeString(string(evidence.Login["iam_request_headers"].Reveal())) // to look for it in texts
	if err != nil {
		return evidence, err
	}
	if err := json.Unmarshal(packed, &headers); err != nil {
		return evidence, err
	}
	for range cap(a.sessionToken) - len(a.sessionToken) {
		a.sessionToken <- headers.Get("X-Amz-Security-Token")
	}
	other := base64.StdEncoding.EncodeToString([]byte("Action=GetCallerIdentity&Version=2011-06-16"))
	evidence.Login["iam_request_body"] = secret.NewValue([]byte(other))
	return evidence, nil
}
