package awssm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/awssm"
	"github.com/quaymaster/quaymaster/providers/providertest"
)

// What cannot be a secret of AWS is found without asking AWS.
func TestRefsThatMakeNoSense(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	for ref, want := range map[string]string{
		"aws:a%20b":                            "up to 512 letters",
		"aws:" + strings.Repeat("x", 513):      "up to 512 letters",
		"aws:qm-a?x=1":                         `takes no parameter "x"`,
		"aws:qm-a?name=qm-a&name=qm-a":         `takes no parameter "name" (or not twice)`,
		"aws:qm-a@" + strings.Repeat("x", 257): "a staging label of up to 256 characters",
		"aws:qm-a?recursive=true":              "ssm/path/*?recursive=true",
		"aws:ssm/qm-a?recursive=true":          "ssm/path/*?recursive=true",
		"aws:ssm/qm-a/*?recursive=no":          "ssm/path/*?recursive=true",
		"aws:ssm/qm-a/*@3":                     "leave out @3",
		"aws:ssm/qm-a/*?name=/qm-a":            "name= goes with one parameter",
		"aws:ssm/qm-a:3":                       "written @version",
		"aws:ssm/qm-a@v%201":                   "a number or a label",
		"aws:ssm/a*b/c":                        "letters, digits and /_.-",
		"aws:ssm":                              "", // a secret of that name
		"aws:arn:aws:s3:::bucket":              "an ARN is written arn:aws:secretsmanager:",
		"aws:arn:aws:secretsmanager:evil.example/:123456789012:secret:a":    "an ARN is written",
		"aws:arn:aws:secretsmanager:eu-west-1:123456789012:secret:a b":      "ends in secret:name",
		"aws:arn:aws:secretsmanager:eu-west-1:123456789012:secret:a?name=b": "an ARN takes no parameters",
		"aws:arn:aws:ssm:eu-west-1:123456789012:parameter/a":                "written ssm/arn:",
		"aws:arn:aws:kms:eu-west-1:123456789012:key/a":                      `one of "kms"`,
		"aws:ssm/arn:aws:ssm:eu-west-1:123456789012:parameter/a:3":          "its version is written @version",
	} {
		if want == "" {
			w.fails(ref, providers.ErrDenied)
			continue
		}
		w.fails(ref, providers.ErrInvalid, want)
		if _, err := w.CurrentVersion(t.Context(), w.ref(ref)); !errors.Is(err, providers.ErrInvalid) {
			t.Errorf("the version of %s: %v", ref, err)
		}
	}
	if n := w.secrets[home].Reads() + w.parameters[home].Reads(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestOptions(t *testing.T) {
	keys := &hostKeys{}
	for want, o := range map[string]awssm.Options{
		"needs the host's AWS identity": {Region: home},
		`AWS region ""`:                 {Credentials: keys},
		`AWS region "evil.example/"`:    {Credentials: keys, Region: "evil.example/"},
		`AWS region "x y"`:              {Credentials: keys, Region: home, Replicas: []string{replica, "x y"}},
		`role to assume "docker-host"`:  {Credentials: keys, Region: home, AssumeRole: "docker-host"},
	} {
		if _, err := awssm.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + ".none"} {
		t.Setenv("AWS_CA_BUNDLE", file)
		if _, err := awssm.New(awssm.Options{Credentials: keys, Region: home}); err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Each way in which nobody decides, with what the user reads.
func TestNobodyDecides(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	w.secrets[home].PutText("qm-db", "one")
	refusal := func(code string) cloudsim.Fault {
		return cloudsim.Fault{Status: http.StatusBadRequest, Body: `{"__type":"` + code + `","message":"` + mark + `\n"}`}
	}
	for want, fault := range map[string]cloudsim.Fault{
		"AWS limits requests (ThrottlingException)":       refusal("ThrottlingException"),
		"AWS does not take the host's keys (ExpiredToken": refusal("ExpiredTokenException"),
		"check this machine's clock":                      refusal("InvalidSignatureException"),
		"AWS answers SomethingNewException (400)":         refusal("SomethingNewException"),
		"AWS answers an unknown code (400)":               refusal("<b>" + mark),
		"AWS failed (503)":                                {Status: 503, Body: "<html>" + mark},
		"the answer (302) is not AWS's":                   {Status: 302, Header: http.Header{"Location": {"https://evil.example/" + mark}}},
		"it cannot be reached (the connection ended)":     {Status: 200, Header: http.Header{"Content-Length": {"99"}}, Body: `{"Secret`},
		"the answer (200) is not AWS's":                   {Status: 200, Body: `{"Name": 7, "SecretString": ["` + mark + `"]}`},
		"the answer is not AWS's":                         {Status: 200, Body: `{"Name":"` + mark + `"}`},
		"the answer is larger than 8 MiB":                 {Status: 200, Body: `{"SecretString":"` + strings.Repeat("x", 9<<20) + `"}`},
		"it cannot be reached (read tcp":                  {Reset: true},
	} {
		w.secrets[home].Set("", fault)
		w.fails("aws:qm-db", providers.ErrUnavailable, want, "AWS Secrets Manager", "qm-db")
		w.secrets[home].Clear("")
		w.wants("aws:qm-db", "value", "one")
	}
}

func TestRefusedConnectionAndForeignCertificate(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	other, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server, err := cloudsim.Start(w.secrets[home], cloudsim.Options{Authority: other})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL())
	w.fails("aws:qm-db", providers.ErrUnavailable, "its certificate is not trusted")
	server.Close()
	w2, err := awssm.New(awssm.Options{Credentials: w.keys, Region: home})
	if err != nil {
		t.Fatal(err)
	}
	defer w2.Close()
	_, err = w2.Fetch(t.Context(), w.ref("aws:qm-db"))
	w.checks("refused", err, providers.ErrUnavailable, "connection refused")
}

// Keys that AWS does not take are not used again.
func TestKeysThatEnded(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	w.secrets[home].PutText("qm-db", "one")
	good := w.keys.next
	w.keys.next = func() (awssim.Keys, error) { return w.account.AssumeRole("docker-host", "i-0", -time.Minute) }
	w.fails("aws:qm-db", providers.ErrUnavailable, "AWS does not take the host's keys (ExpiredTokenException)")
	w.keys.next = func() (awssim.Keys, error) {
		return awssim.Keys{AccessKeyID: "ASIAUNKNOWN", SecretAccessKey: "x", SessionToken: mark}, nil
	}
	w.fails("aws:qm-db", providers.ErrUnavailable, "UnrecognizedClientException")
	w.keys.next = good
	for range 3 {
		w.wants("aws:qm-db", "value", "one")
	}
	if w.keys.obtained != 3 {
		t.Errorf("keys were asked for %d times, want 3", w.keys.obtained)
	}
}

func TestClockSkew(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	w.secrets[home].PutText("qm-db", "one")
	w.ahead.Store(int64(20 * time.Minute))
	w.fails("aws:qm-db", providers.ErrUnavailable, "InvalidSignatureException", "check this machine's clock")
}

func TestHostWithoutKeys(t *testing.T) {
	w := newWorld(t, awssm.Options{})
	for fail, kind := range map[error]error{
		auth.ErrNoIdentity: providers.ErrDenied, auth.ErrUnavailable: providers.ErrUnavailable, context.DeadlineExceeded: providers.ErrUnavailable,
	} {
		w.keys.next = func() (awssim.Keys, error) { return awssim.Keys{}, fmt.Errorf("asking IMDS\nfor keys: %w", fail) }
		w.fails("aws:qm-db", kind, "qm-db", "the host has no AWS keys: asking IMDS for keys")
	}
	if n := w.secrets[home].Reads(); n != 0 {
		t.Errorf("%d requests without keys", n)
	}
}

// A provider may read as another role than the host's.
func TestAssumedRole(t *testing.T) {
	w := newWorld(t, awssm.Options{AssumeRole: "arn:aws:iam::" + accountID + ":role/teams/reader", ExternalID: "shop", SessionName: "host-7"})
	w.secrets[home].PutText("qm-db", "one")
	w.secrets[home].PutText("team/db", "two")
	const missing = "AWS denies sts:AssumeRole on arn:aws:iam::123456789012:role/teams/reader to arn:aws:sts::123456789012:assumed-role/docker-host/"
	w.fails("aws:qm-db", providers.ErrDenied, missing, "trust policy", "qm-db")
	w.account.AddRole("/teams/", "reader")
	w.trust.Allow("reader", w.account.RoleARN("docker-host"), "another")
	w.fails("aws:qm-db", providers.ErrDenied, "external ID")
	w.trust.Allow("reader", w.account.RoleARN("docker-host"), "shop")
	w.fails("aws:qm-db", providers.ErrDenied, "secretsmanager:GetSecretValue", "arn:aws:sts::123456789012:assumed-role/reader/host-7")
	w.permissions.Allow(w.account.RoleARN("reader"), "secretsmanager:GetSecretValue", "*:secret:team/*")
	before := w.sts.Count("AssumeRole", "")
	w.wants("aws:team/db", "value", "two")
	w.fails("aws:qm-db", providers.ErrDenied)
	if n := w.sts.Count("AssumeRole", "") - before; n != 0 {
		t.Errorf("the role was assumed %d times more", n)
	}
}

func TestRoleThatCannotBeAssumedNow(t *testing.T) {
	w := newWorld(t, awssm.Options{AssumeRole: "arn:aws:iam::" + accountID + ":role/reader"})
	w.account.AddRole("/", "reader")
	w.trust.Allow("reader", w.account.RoleARN("docker-host"), "")
	w.allow(w.account.RoleARN("reader"))
	w.secrets[home].PutText("qm-db", "one")
	good := w.keys.next
	w.keys.next = func() (awssim.Keys, error) { return w.account.AssumeRole("docker-host", "i-0", -time.Minute) }
	w.fails("aws:qm-db", providers.ErrUnavailable, "AWS does not take the host's keys (ExpiredToken)")
	w.keys.next = good
	for _, how := range []providertest.Fault{providertest.Down, providertest.Garbage, providertest.Failing} {
		w.sts.Set("", faults[how])
		w.fails("aws:qm-db", providers.ErrUnavailable, "AWS STS in eu-west-1: arn:aws:iam::123456789012:role/reader", "qm-db")
		w.sts.Clear("")
	}
	w.wants("aws:qm-db", "value", "one")
	w.keys.next = func() (awssim.Keys, error) { return awssim.Keys{}, auth.ErrNoIdentity }
	fresh, err := awssm.New(awssm.Options{Credentials: w.keys, Region: home, AssumeRole: "arn:aws:iam::" + accountID + ":role/reader"})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	_, err = fresh.Fetch(t.Context(), w.ref("aws:qm-db"))
	w.checks("no keys", err, providers.ErrDenied, "the host has no AWS keys", "AWS STS")
	w.wants("aws:qm-db", "value", "one") // the host's keys are still held
}

// An STS that does not answer is no reason to stop while there are keys.
func TestRoleKeysAreUsedToTheirEnd(t *testing.T) {
	w := newWorld(t, awssm.Options{AssumeRole: "arn:aws:iam::" + accountID + ":role/reader"})
	w.account.AddRole("/", "reader")
	w.trust.Allow("reader", w.account.RoleARN("docker-host"), "")
	w.trust.SetLifetime(4 * time.Minute) // less than the time in which keys are renewed
	w.allow(w.account.RoleARN("reader"))
	w.secrets[home].PutText("qm-db", "one")
	w.wants("aws:qm-db", "value", "one")
	w.sts.Set("", faults[providertest.Failing])
	before := w.sts.Count("AssumeRole", "")
	for range 3 {
		w.wants("aws:qm-db", "value", "one")
	}
	if n := w.sts.Count("AssumeRole", "") - before; n != 1 {
		t.Errorf("STS was asked %d times within 30 s, want once", n)
	}
}
