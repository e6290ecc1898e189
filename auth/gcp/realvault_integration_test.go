//go:build integration

package gcp_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// newRealVault is a real Vault on an instance of its own in the world's cloud,
// which it asks with the identity of that instance.
func newRealVault(t *testing.T, w *world) *realvault.Vault {
	t.Helper()
	own := serve(t, w.cloud.AddInstance(gcpsim.Instance{
		Project: "vault-prod", Zone: "europe-west1-c", Name: "vault-1", ServiceAccount: w.cloud.AddServiceAccount("vault-prod", "vault"),
	}))
	v := realvault.ForTest(t, realvault.Options{Env: []string{"GCE_METADATA_HOST=" + strings.TrimPrefix(own, "http://")}})
	ctx := t.Context()
	put := func() error {
		_, err := v.PutKV2(ctx, "kv", "shop/db", map[string]any{"password": "correct horse"})
		return err
	}
	if err := errors.Join(
		v.EnableGCP(ctx, realvault.GCPAuth{Mount: "gcp", APIs: w.url, Compute: w.url + gcpsim.ComputePath}),
		v.WritePolicy(ctx, "shop", `path "kv/data/shop/*" { capabilities = ["read"] }`),
		v.MountKV(ctx, "kv", 2),
		put(),
	); err != nil {
		t.Fatal(err)
	}
	return v
}

// attempt is one login and what comes of it.
type attempt struct {
	kind     gcp.Type
	bound    realvault.GCPRole                               // what the role in Vault is bound to; its type is kind unless it says otherwise
	before   func(t *testing.T, w *world)                    // happens before the attestation
	host     func(o *gcp.Options)                            // what is wrong on the host
	source   func(o *vaultlogin.Options)                     // how the host logs in
	evidence func(t *testing.T, w *world, jwt string) string // on its way to Vault
	refused  string                                          // what the person reads; empty: the login passes
	remark   string                                          // what the log says of the evidence
}

// run makes the attempt at a role of its own, and returns what came of it.
func (a attempt) run(t *testing.T, w *world, v *realvault.Vault) (*vaultclient.Client, auth.Token, error) {
	t.Helper()
	role := a.bound
	role.Mount, role.Name, role.Policies, role.TTL = "gcp", "docker-host", []string{"shop"}, time.Hour
	if role.Type == "" {
		role.Type = string(a.kind)
	}
	if _, err := v.Client().Logical().DeleteWithContext(t.Context(), "auth/gcp/role/docker-host"); err != nil {
		t.Fatal(err)
	}
	if err := v.WriteGCPRole(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if a.before != nil {
		a.before(t, w)
	}
	options := w.options(a.kind)
	if a.host != nil {
		a.host(&options)
	}
	attestor, err := gcp.New(options)
	if err != nil {
		t.Fatal(err)
	}
	onTheWay := func(jwt string) string { return jwt }
	if a.evidence != nil {
		onTheWay = func(jwt string) string { return a.evidence(t, w, jwt) }
	}
	return logIn(t, v, &altered{attestor, onTheWay}, a.source, a.remark)
}

// altered is an attestor whose evidence is changed on the way.
type altered struct {
	auth.Attestor
	change func(jwt string) string
}

func (a *altered) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	evidence, err := a.Attestor.Attest(ctx, audience)
	if err == nil {
		jwt := string(evidence.Login["jwt"].Reveal()) // a stand-in signed it
		evidence.Login["jwt"] = secret.NewValue([]byte(a.change(jwt)))
	}
	return evidence, err
}

// logIn logs in as the agent does, and looks that the log has the remark and no
// evidence.
func logIn(t *testing.T, v *realvault.Vault, attestor auth.Attestor, change func(*vaultlogin.Options), remark string) (*vaultclient.Client, auth.Token, error) {
	t.Helper()
	client, err := vaultclient.New(vaultclient.Config{Address: v.Address()})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	options := vaultlogin.Options{Client: client, Attestor: attestor, Mount: "gcp", Role: "docker-host", Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if change != nil {
		change(&options)
	}
	source, err := vaultlogin.New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	token, err := source.Token(ctx)
	stop()
	if failed := <-ended; failed != nil {
		t.Errorf("Run: %v", failed)
	}
	t.Cleanup(client.CloseIdleConnections)
	if strings.Contains(log.String(), "eyJ") {
		t.Errorf("a JWT is in the log:\n%s", log.String())
	}
	if !strings.Contains(log.String(), remark) || (remark == "" && strings.Contains(log.String(), "remark=")) {
		t.Errorf("the log does not say %q of the evidence:\n%s", remark, log.String())
	}
	return client, token, err
}

// uses fails unless token reads the secret and can be renewed, for which Vault
// asks Google again.
func uses(t *testing.T, client *vaultclient.Client, token auth.Token) {
	t.Helper()
	answer, err := client.With(token.Value).Logical().ReadWithContext(t.Context(), "kv/data/shop/db")
	if err != nil || answer.Data["data"].(map[string]any)["password"] != "correct horse" {
		t.Errorf("reading a secret: %v, %v", answer, err)
	}
	if _, err := client.With(token.Value).Auth().Token().RenewSelfWithContext(t.Context(), 0); err != nil {
		t.Errorf("renewing: %v", err)
	}
}

// passing are logins that must pass. The instance is docker-1 of shop-prod.
var passing = map[string]attempt{
	"gce, project":          {kind: gcp.GCE, bound: realvault.GCPRole{Projects: []string{"shop-prod"}}},
	"gce, zone":             {kind: gcp.GCE, bound: realvault.GCPRole{Zones: []string{"europe-west1-b"}}},
	"gce, region":           {kind: gcp.GCE, bound: realvault.GCPRole{Regions: []string{"europe-west1"}}},
	"gce, label":            {kind: gcp.GCE, bound: realvault.GCPRole{Projects: []string{"shop-prod"}, Labels: []string{"environment:production"}}},
	"gce, group":            {kind: gcp.GCE, bound: realvault.GCPRole{Zones: []string{"europe-west1-b"}, InstanceGroups: []string{"docker-hosts"}}},
	"gce, account":          {kind: gcp.GCE, bound: realvault.GCPRole{ServiceAccounts: []string{hostAccount}}},
	"gce, all of these":     {kind: gcp.GCE, bound: realvault.GCPRole{Projects: []string{"shop-prod"}, Zones: []string{"europe-west1-b"}, Labels: []string{"environment:production"}, InstanceGroups: []string{"docker-hosts"}, ServiceAccounts: []string{hostAccount}}},
	"gce, URL audience":     {kind: gcp.GCE, bound: ours, source: audience("https://vault.internal/vault/docker-host")},
	"gce, Google's new key": {kind: gcp.GCE, bound: ours, before: rotate(1)},
	"gce, Google's previous key": {kind: gcp.GCE, bound: ours, evidence: func(t *testing.T, w *world, jwt string) string {
		rotate(1)(t, w)
		return jwt
	}},
	"iam, account":                   {kind: gcp.IAM, bound: ourAccount},
	"iam, account and project":       {kind: gcp.IAM, bound: realvault.GCPRole{ServiceAccounts: []string{hostAccount}, Projects: []string{"shop-prod"}}},
	"iam, any account of a project":  {kind: gcp.IAM, bound: realvault.GCPRole{ServiceAccounts: []string{"*"}, Projects: []string{"shop-prod"}}},
	"iam, URL audience":              {kind: gcp.IAM, bound: ourAccount, source: audience("https://vault.internal/vault/docker-host")},
	"gce at a role for iam, an hour": {kind: gcp.GCE, bound: realvault.GCPRole{Type: "iam", ServiceAccounts: []string{hostAccount}, MaxJWTExp: time.Hour}},
	"gce, host an hour ahead":        {kind: gcp.GCE, bound: ours, host: clock(time.Hour), remark: "this host's clock is 1h0m0s ahead: set it"},
	"gce, host an hour behind":       {kind: gcp.GCE, bound: ours, host: clock(-time.Hour), remark: "this host's clock is 1h0m0s behind: set it"},
	"gce, host a day ahead":          {kind: gcp.GCE, bound: ours, host: clock(26 * time.Hour), remark: "this host's clock is 26h0m0s ahead: set it"},
	"gce, host a day behind":         {kind: gcp.GCE, bound: ours, host: clock(-26 * time.Hour), remark: "this host's clock is 26h0m0s behind: set it"},
	"iam, host an hour ahead":        {kind: gcp.IAM, bound: ourAccount, host: clock(time.Hour), remark: "this host's clock is 1h0m0s ahead: set it"},
	"iam, host an hour behind":       {kind: gcp.IAM, bound: ourAccount, host: clock(-time.Hour), remark: "this host's clock is 1h0m0s behind: set it"},
	"iam, host a day ahead":          {kind: gcp.IAM, bound: ourAccount, host: clock(26 * time.Hour), remark: "this host's clock is 26h0m0s ahead: set it"},
	"iam, host a day behind":         {kind: gcp.IAM, bound: ourAccount, host: clock(-26 * time.Hour), remark: "this host's clock is 26h0m0s behind: set it"},
}

const (
	hostAccount = "docker-host@shop-prod.iam.gserviceaccount.com"
	wrongEnd    = `Vault refuses the request (400): at least one of the JWT claim 'aud' must end in "vault/docker-host"`
	badKey      = `no Google OAuth2 provider key found for GCE role`
)

var (
	ours       = realvault.GCPRole{Projects: []string{"shop-prod"}}
	ourAccount = realvault.GCPRole{ServiceAccounts: []string{hostAccount}}
)

// refused are logins that must not pass.
var refused = map[string]attempt{
	"gce, audience of another role": {kind: gcp.GCE, bound: ours, host: func(o *gcp.Options) { o.Role = "other" }, refused: wrongEnd},
	"iam, audience of another role": {kind: gcp.IAM, bound: ourAccount, host: func(o *gcp.Options) { o.Role = "other" }, refused: wrongEnd},
	"gce, audience without a role":  {kind: gcp.GCE, bound: ours, source: audience("vault.internal"), refused: wrongEnd},
	"gce, audience not as asked":    {kind: gcp.GCE, bound: ours, before: func(_ *testing.T, w *world) { w.instance.SetAudience("vault/other") }, refused: wrongEnd},
	"gce, ended": {kind: gcp.GCE, bound: ours, before: undated(-2 * time.Hour), host: clock(-3 * time.Hour),
		refused: "Vault refuses the request (400): JWT is expired or does not have proper 'exp' claim (this host is " + principal + ")"},
	"gce, Google's clock late": {kind: gcp.GCE, bound: ours, before: skew(-2 * time.Hour), remark: "2h0m0s ahead",
		refused: "JWT is expired or does not have proper 'exp' claim (this host is " + principal + ") (this host's clock is 2h0m0s ahead: set it"},
	"gce, from the future":        {kind: gcp.GCE, bound: ours, before: skew(2 * time.Hour), remark: "2h0m0s behind", refused: "JWT must expire in 60 minutes, expires in 2h59m"},
	"gce, another project":        {kind: gcp.GCE, bound: realvault.GCPRole{Projects: []string{"shop-test"}}, refused: `(project "shop-prod") not in bound projects [shop-test]`},
	"gce, another zone":           {kind: gcp.GCE, bound: realvault.GCPRole{Zones: []string{"europe-west1-c"}}, refused: `instance not in bound zones ["europe-west1-c"]`},
	"gce, another region":         {kind: gcp.GCE, bound: realvault.GCPRole{Regions: []string{"us-east1"}}, refused: `instance not in bound regions ["us-east1"]`},
	"gce, another label":          {kind: gcp.GCE, bound: realvault.GCPRole{Labels: []string{"environment:test"}}, refused: `instance missing bound label "environment:test"`},
	"gce, another group":          {kind: gcp.GCE, bound: realvault.GCPRole{Zones: []string{"europe-west1-b"}, InstanceGroups: []string{"others"}}, refused: `instance is not part of instance groups ["others"]`, before: neighbour},
	"gce, no such group":          {kind: gcp.GCE, bound: realvault.GCPRole{Zones: []string{"europe-west1-b"}, InstanceGroups: []string{"nobody"}}, refused: `instance group "nobody" does not exist in zones ["europe-west1-b"] for project "shop-prod"`},
	"gce, another account":        {kind: gcp.GCE, bound: realvault.GCPRole{ServiceAccounts: []string{"other@shop-prod.iam.gserviceaccount.com"}}, refused: `("` + hostAccount + `") is not in bound service accounts ["other@shop-prod.iam.gserviceaccount.com"]`},
	"iam, another account":        {kind: gcp.IAM, bound: realvault.GCPRole{ServiceAccounts: []string{"other@shop-prod.iam.gserviceaccount.com"}}, refused: `is not authorized for role`},
	"iam, another project":        {kind: gcp.IAM, bound: realvault.GCPRole{ServiceAccounts: []string{hostAccount}, Projects: []string{"shop-test"}}, refused: `service account "` + hostAccount + `" not in bound projects [shop-test]`},
	"gce at a role for iam":       {kind: gcp.GCE, bound: realvault.GCPRole{Type: "iam", ServiceAccounts: []string{hostAccount}}, refused: "role requires that service account JWTs expire within 900 seconds"},
	"iam at a role for gce":       {kind: gcp.IAM, bound: realvault.GCPRole{Type: "gce", Projects: []string{"shop-prod"}}, refused: badKey},
	"iam, end too far for a role": {kind: gcp.IAM, bound: ourAccount, before: skew(20 * time.Minute), remark: "20m0s behind", refused: "role requires that service account JWTs expire within 900 seconds"},
	"iam, end too far for Vault":  {kind: gcp.IAM, bound: ourAccount, before: undated(0), host: clock(2 * time.Hour), refused: "JWT must expire in 60 minutes, expires in 2h9m"},
	"gce, changed claims":         {kind: gcp.GCE, bound: realvault.GCPRole{Projects: []string{"shop-test"}}, evidence: otherProject, refused: "error in cryptographic primitive"},
	"gce, changed signature":      {kind: gcp.GCE, bound: ours, evidence: otherSignature, refused: "error in cryptographic primitive"},
	"iam, changed signature":      {kind: gcp.IAM, bound: ourAccount, evidence: otherSignature, refused: "error in cryptographic primitive"},
	"gce, unsigned":               {kind: gcp.GCE, bound: ours, evidence: unsigned, refused: "unable to parse signed JWT"},
	"gce, the certificate as key": {kind: gcp.GCE, bound: ours, evidence: certificateAsKey, refused: "error in cryptographic primitive"},
	"gce, signed by an account":   {kind: gcp.GCE, bound: ours, evidence: signedByAccount, refused: badKey},
	"gce, no JWT":                 {kind: gcp.GCE, bound: ours, evidence: func(*testing.T, *world, string) string { return "nonsense" }, refused: "unable to parse signed JWT"},
	"gce, key withdrawn": {kind: gcp.GCE, bound: ours, refused: badKey, evidence: func(t *testing.T, w *world, jwt string) string {
		rotate(2)(t, w)
		return jwt
	}},
	"gce, stopped":         {kind: gcp.GCE, bound: ours, before: func(_ *testing.T, w *world) { w.instance.SetStatus("TERMINATED") }, refused: "found but has invalid status 'TERMINATED'"},
	"gce, replaced":        {kind: gcp.GCE, bound: ours, evidence: replace, refused: "instance_creation_timestamp"},
	"gce, account deleted": {kind: gcp.GCE, bound: ours, evidence: deleteAccount, refused: "Could not find service account"},
	"iam, account deleted": {kind: gcp.IAM, bound: ourAccount, evidence: deleteAccount, refused: "unable to get public key"},
	// Vault says 400 here, too, as if the login were at fault.
	"gce, Google fails Vault": {kind: gcp.GCE, bound: ours, before: func(_ *testing.T, w *world) { w.apis.Set("", cloudsim.Fault{Status: 503, Times: 1}) }, refused: badKey},
	"unknown role":            {kind: gcp.GCE, bound: ours, source: func(o *vaultlogin.Options) { o.Role = "nobody" }, refused: `auth method at auth/gcp, role "nobody": Vault refuses the request (400): role "nobody" not found`},
	"wrong mount":             {kind: gcp.GCE, bound: ours, source: func(o *vaultlogin.Options) { o.Mount = "nowhere" }, refused: "Vault denies it (403): permission denied (is an auth method of type gcp mounted at auth/nowhere? see vault.mount)"},
}

func TestRealVault(t *testing.T) {
	w := newWorld(t)
	v := newRealVault(t, w)
	counts := map[string]int{}
	for name, a := range passing {
		t.Run("passes/"+name, func(t *testing.T) {
			client, token, err := a.run(t, w.renewed(t), v)
			if err != nil {
				t.Fatal(err)
			}
			if token.Principal != principal {
				t.Errorf("the principal is %q", token.Principal)
			}
			uses(t, client, token)
			counts["passed"]++
		})
	}
	for name, a := range refused {
		t.Run("refused/"+name, func(t *testing.T) {
			_, _, err := a.run(t, w.renewed(t), v)
			if !errors.Is(err, auth.ErrRefused) || !strings.Contains(err.Error(), a.refused) {
				t.Fatalf("%v\nis not ErrRefused with %s", err, a.refused)
			}
			if strings.Contains(err.Error(), "eyJ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("a JWT or several lines: %v", err)
			}
			t.Log(err)
			counts["refused"]++
		})
	}
	t.Logf("logins against the real gcp plugin:\n\tpassed   %d of %d\n\trefused  %d of %d",
		counts["passed"], len(passing), counts["refused"], len(refused))
}

// A token that was good is not renewed once the instance has been stopped.
func TestRealVaultRenewsForLivingInstancesOnly(t *testing.T) {
	w := newWorld(t)
	v := newRealVault(t, w)
	client, token, err := attempt{kind: gcp.GCE, bound: ours}.run(t, w, v)
	if err != nil {
		t.Fatal(err)
	}
	uses(t, client, token)
	w.instance.SetStatus("TERMINATED")
	_, err = client.With(token.Value).Auth().Token().RenewSelfWithContext(t.Context(), 0)
	if failure := vaultclient.Classify(err); failure == nil || !failure.Decided() || !strings.Contains(failure.Error(), "invalid status 'TERMINATED'") {
		t.Errorf("%v", failure)
	}
}

// renewed is the world with its account and its instance made anew.
func (w *world) renewed(t *testing.T) *world {
	t.Helper()
	fresh := &world{cloud: w.cloud, apis: w.apis, url: w.url, account: w.cloud.AddServiceAccount("shop-prod", "docker-host")}
	if err := w.cloud.AllowSigning(fresh.account); err != nil {
		t.Fatal(err)
	}
	fresh.enter(t, w.cloud.AddInstance(docker1))
	return fresh
}

func audience(name string) func(*vaultlogin.Options) {
	return func(o *vaultlogin.Options) { o.Audience = name }
}

func skew(by time.Duration) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.instance.SetSkew(by) }
}

// undated tells no time, beside that.
func undated(by time.Duration) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		w.instance.SetSkew(by)
		w.instance.SetUndated(true)
	}
}

func clock(by time.Duration) func(*gcp.Options) {
	return func(o *gcp.Options) { o.Now = at(by) }
}

// rotate makes Google change its key so often.
func rotate(times int) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) {
		for range times {
			w.cloud.RotateKey()
		}
	}
}

// neighbour puts another instance into another group.
func neighbour(_ *testing.T, w *world) {
	other := docker1
	other.Name, other.Group = "docker-2", "others"
	w.cloud.AddInstance(other)
}

// replace makes an instance of the same name after the evidence was made.
func replace(_ *testing.T, w *world, jwt string) string {
	later := docker1
	later.Created = time.Now().Add(time.Minute)
	w.cloud.AddInstance(later)
	return jwt
}

func deleteAccount(_ *testing.T, w *world, jwt string) string {
	w.cloud.RemoveServiceAccount(w.account)
	return jwt
}

// otherProject says that the instance is in shop-test.
func otherProject(_ *testing.T, _ *world, jwt string) string {
	parts := strings.Split(jwt, ".")
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	parts[1] = base64.RawURLEncoding.EncodeToString(bytes.ReplaceAll(text, []byte(`"shop-prod"`), []byte(`"shop-test"`)))
	return strings.Join(parts, ".")
}

func otherSignature(_ *testing.T, _ *world, jwt string) string {
	parts := strings.Split(jwt, ".")
	signature := []byte(parts[2])
	slices.Reverse(signature[:100])
	return parts[0] + "." + parts[1] + "." + string(signature)
}

// withHeader is jwt under another header, without a signature.
func withHeader(jwt, header string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + strings.Split(jwt, ".")[1]
}

func unsigned(_ *testing.T, _ *world, jwt string) string {
	return withHeader(jwt, `{"alg":"none","typ":"JWT"}`) + "."
}

// certificateAsKey signs with what everybody knows, as if it were a shared
// secret: a JWT that says HS256 is as good as one that says RS256 to whoever
// believes its header.
func certificateAsKey(t *testing.T, w *world, jwt string) string {
	var header struct{ Kid string }
	text, _ := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[0])
	if err := json.Unmarshal(text, &header); err != nil {
		t.Error(err)
	}
	signed := withHeader(jwt, `{"alg":"HS256","typ":"JWT","kid":"`+header.Kid+`"}`)
	mac := hmac.New(sha256.New, []byte(certificates(t, w)[header.Kid]))
	io.WriteString(mac, signed)
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func certificates(t *testing.T, w *world) (byID map[string]string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(w.url + "/oauth2/v1/certs")
	if err != nil {
		t.Error(err)
		return nil
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&byID); err != nil {
		t.Error(err)
	}
	return byID
}

// signedByAccount has the service account sign an instance's claims, which
// only Google may.
func signedByAccount(t *testing.T, w *world, _ string) string {
	evidence, err := attest(t, w.options(gcp.IAM), "")
	if err != nil {
		t.Error(err)
		return ""
	}
	return string(evidence.Login["jwt"].Reveal()) // goes to Vault instead of the instance's
}
