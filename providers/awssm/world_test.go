package awssm_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/providers/awssm"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

const (
	accountID = "123456789012"
	foreignID = "210987654321"
	home      = "eu-west-1"
	replica   = "eu-central-1"
	mark      = providertest.Marker
)

// world is an AWS account, seen over TLS by a host with the role docker-host.
type world struct {
	*testing.T
	account     *awssim.Account
	permissions *awssim.Permissions
	secrets     map[string]*awssim.SecretsManager // by region
	parameters  map[string]*awssim.ParameterStore
	sts         *awssim.Service
	trust       *awssim.Trust
	keys        *hostKeys
	ahead       atomic.Int64 // how far AWS's clock is ahead of the host's, in ns
	*awssm.Provider
}

// hostKeys are those that the instance's role has now.
type hostKeys struct {
	mu       sync.Mutex
	next     func() (awssim.Keys, error)
	obtained int
}

// Retrieve implements aws.CredentialsProvider.
func (h *hostKeys) Retrieve(context.Context) (aws.Credentials, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.obtained++
	keys, err := h.next()
	return aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken,
		CanExpire: true, Expires: time.Now().Add(time.Hour)}, err
}

// newWorld has the regions home and replica, and a host that may read what is
// named qm-… or /qm-….
func newWorld(t *testing.T, o awssm.Options) *world {
	t.Helper()
	w := &world{T: t, permissions: &awssim.Permissions{},
		secrets: map[string]*awssim.SecretsManager{}, parameters: map[string]*awssim.ParameterStore{}}
	clock := func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	w.account = awssim.NewAccount(accountID, cloudsim.NewEnvironment(clock, nil))
	w.account.AddRole("/", "docker-host")
	w.allow(w.account.RoleARN("docker-host"))
	secrets, parameters := awssim.Regions{}, awssim.Regions{}
	for _, region := range []string{home, replica} {
		w.secrets[region] = awssim.NewSecretsManager(w.account, region, w.permissions)
		w.parameters[region] = awssim.NewParameterStore(w.account, region, w.permissions)
		secrets[region], parameters[region] = w.secrets[region], w.parameters[region]
	}
	w.sts = awssim.NewSTS(w.account, home)
	w.trust = awssim.AddAssumeRole(w.sts)
	w.serve(map[string]http.Handler{"SECRETS_MANAGER": secrets, "SSM": parameters, "STS": w.sts})
	w.keys = &hostKeys{next: func() (awssim.Keys, error) {
		return w.account.AssumeRole("docker-host", "i-0123456789abcdef0", time.Hour)
	}}
	if o.Credentials == nil {
		o.Credentials = w.keys
	}
	if o.Region == "" {
		o.Region = home
	}
	provider, err := awssm.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Close)
	w.Provider = provider
	return w
}

// allow is the policy of a role that reads secrets.
func (w *world) allow(role string) {
	for action, resource := range map[string]string{
		"secretsmanager:BatchGetSecretValue": "*",
		"secretsmanager:GetSecretValue":      "arn:aws:secretsmanager:*:secret:*qm-*",
		"secretsmanager:DescribeSecret":      "arn:aws:secretsmanager:*:secret:*qm-*",
		"ssm:GetParameter*":                  "arn:aws:ssm:*:parameter/qm-*",
	} {
		w.permissions.Allow(role, action, resource)
	}
}

// serve starts a server for each service, where the SDK's variables say that
// it is.
func (w *world) serve(services map[string]http.Handler) {
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		w.Fatal(err)
	}
	bundle := filepath.Join(w.TempDir(), "authority.pem")
	if err := os.WriteFile(bundle, authority.PEM(), 0o600); err != nil {
		w.Fatal(err)
	}
	w.Setenv("AWS_CA_BUNDLE", bundle)
	for name, handler := range services {
		server, err := cloudsim.Start(handler, cloudsim.Options{Authority: authority})
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { server.Close() })
		w.Setenv("AWS_ENDPOINT_URL_"+name, server.URL())
	}
}

func (w *world) ref(text string) secret.Ref {
	w.Helper()
	ref, err := secret.ParseRef(text)
	if err != nil {
		w.Fatal(err)
	}
	return ref
}

// wants reads a ref, whose fields must be these: name, text, name, text, …
func (w *world) wants(text string, fields ...string) secret.Secret {
	w.Helper()
	found, err := w.Fetch(w.Context(), w.ref(text))
	if err != nil {
		w.Errorf("%s: %v", text, err)
		return found
	}
	if len(found.Fields) != len(fields)/2 {
		w.Errorf("%s has the fields %q", text, found.Names())
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if got := string(found.Fields[fields[i]].Reveal()); got != fields[i+1] { // a test's own value
			w.Errorf("%s: field %q is %q, want %q", text, fields[i], got, fields[i+1])
		}
	}
	return found
}

// fails reads a ref, which must fail so, with an error that says all of want.
func (w *world) fails(text string, kind error, want ...string) {
	w.Helper()
	_, err := w.Fetch(w.Context(), w.ref(text))
	w.checks(text, err, kind, want...)
}

func (w *world) checks(text string, err, kind error, want ...string) {
	w.Helper()
	if !errors.Is(err, kind) {
		w.Errorf("%s: %v is not %v", text, err, kind)
		return
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			w.Errorf("%s: %v\ndoes not say %s", text, err, part)
		}
	}
	if strings.Contains(err.Error(), mark) || strings.Contains(err.Error(), "\n") {
		w.Errorf("%s: %v", text, err)
	}
}

// faults are how a service misbehaves, with what a careless client would pass on.
var faults = map[providertest.Fault]cloudsim.Fault{
	providertest.Down:      {Reset: true},
	providertest.Slow:      {Delay: 30 * time.Second},
	providertest.Throttled: {Status: http.StatusBadRequest, Body: `{"__type":"ThrottlingException","message":"Rate exceeded ` + mark + `"}`},
	providertest.Garbage:   {Status: http.StatusOK, Body: "<html>" + mark},
	providertest.Failing:   {Status: http.StatusInternalServerError, Body: `{"__type":"InternalServiceError","message":"` + mark + `"}`},
}

// breaks makes a service misbehave.
func breaks(f *cloudsim.Faults) func(*testing.T, providertest.Fault) func() {
	return func(t *testing.T, how providertest.Fault) func() {
		fault, known := faults[how]
		if !known {
			t.Fatalf("there is no fault %q", how)
		}
		f.Set("", fault)
		return func() { f.Clear("") }
	}
}

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}
