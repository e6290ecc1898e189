package gcp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

const principal = "docker-host@shop-prod.iam.gserviceaccount.com on docker-1 (europe-west1-b) of shop-prod"

func TestEvidence(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []gcp.Type{"", gcp.GCE, gcp.IAM} {
		for audience, want := range map[string]string{"": "vault/docker-host", "https://vault.internal/vault/docker-host": "https://vault.internal/vault/docker-host"} {
			evidence, err := attest(t, w.options(kind), audience)
			if err != nil {
				t.Fatal(err)
			}
			if evidence.Method != "gcp" || evidence.Principal != principal || len(evidence.Login) != 1 {
				t.Errorf("%s: %+v", kind, evidence)
			}
			claims := said(t, evidence)
			if claims["aud"] != want {
				t.Errorf("%s: aud is %v, want %s", kind, claims["aud"], want)
			}
			if full := claims["google"] != nil; full != (kind != gcp.IAM) {
				t.Errorf("%s: names the instance: %v", kind, full)
			}
			if kind == gcp.IAM && claims["sub"] != w.account {
				t.Errorf("sub is %v", claims["sub"])
			}
		}
	}
}

// A role of Vault takes JWTs that end within 15 minutes.
func TestSignedClaimsEndSoon(t *testing.T) {
	w := newWorld(t)
	o, now := w.options(gcp.IAM), time.Now()
	o.Now = func() time.Time { return now }
	evidence, err := attest(t, o, "")
	if err != nil {
		t.Fatal(err)
	}
	if end := int64(said(t, evidence)["exp"].(float64)); end != now.Add(10*time.Minute).Unix() {
		t.Errorf("ends %d s from now", end-now.Unix())
	}
}

func TestNewRefuses(t *testing.T) {
	for want, o := range map[string]gcp.Options{
		`the login type "ec2": write gce or iam`:              {Type: "ec2", Role: "docker-host"},
		`needs the role's name`:                               {},
		`API: write it as https://host`:                       {Role: "docker-host", IAMCredentials: "iam.internal"},
		`API: tokens would cross the network to iam.internal`: {Role: "docker-host", IAMCredentials: "http://iam.internal"},
	} {
		if _, err := gcp.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// failure is a way in which there is no evidence, with what the person reads.
type failure struct {
	arrange func(t *testing.T, w *world)
	kind    error
	want    []string
}

func (f failure) check(t *testing.T, kind gcp.Type) {
	t.Helper()
	w := newWorld(t)
	f.arrange(t, w)
	_, err := attest(t, w.options(kind), "")
	f.is(t, err)
}

func (f failure) is(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, f.kind) {
		t.Fatalf("%v is not %v", err, f.kind)
	}
	for _, want := range f.want {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	for _, unwanted := range []string{"\n", "ya29.", "eyJ"} {
		if strings.Contains(err.Error(), unwanted) {
			t.Errorf("%q in: %v", unwanted, err)
		}
	}
}

// set makes the metadata server of the world meet a fault.
func set(fault cloudsim.Fault) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.instance.Set("", fault) }
}

// stand puts another server where the metadata server was.
func stand(answer http.HandlerFunc) func(*testing.T, *world) {
	return func(t *testing.T, _ *world) {
		t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(serve(t, answer), "http://"))
	}
}

// genuine is an answer with Google's mark.
func genuine(body string) cloudsim.Fault {
	return cloudsim.Fault{Status: 200, Body: body, Header: http.Header{"Metadata-Flavor": {"Google"}}}
}

func TestNoIdentityOfTheInstance(t *testing.T) {
	failures := map[string]failure{
		"absent": {func(t *testing.T, _ *world) { t.Setenv("GCE_METADATA_HOST", closedPort(t)) }, auth.ErrNoIdentity,
			[]string{"from Google's metadata server at http://127.0.0.1:", "nothing answers (connect: connection refused): is this a Compute Engine instance?"}},
		"a bad address":      {func(t *testing.T, _ *world) { t.Setenv("GCE_METADATA_HOST", "a b") }, auth.ErrNoIdentity, []string{`GCE_METADATA_HOST is "a b": write it as host or host:port`}},
		"a proxy's page":     {stand(func(w http.ResponseWriter, _ *http.Request) {}), auth.ErrNoIdentity, []string{"something else answers there, such as a proxy: it does not say Metadata-Flavor: Google"}},
		"a proxy's 403":      {set(cloudsim.Fault{Status: 403}), auth.ErrNoIdentity, []string{"something else answers there"}},
		"a proxy's 503":      {set(cloudsim.Fault{Status: 503}), auth.ErrUnavailable, []string{"it answers 503, and it does not say Metadata-Flavor: Google"}},
		"another cloud's":    {set(gcpsim.Absent), auth.ErrNoIdentity, []string{"something else answers there"}},
		"redirect":           {stand(http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound).ServeHTTP), auth.ErrNoIdentity, []string{"something else answers there: the metadata service answered with a redirect"}},
		"too large":          {set(genuine(strings.Repeat("x", 1<<20))), auth.ErrNoIdentity, []string{"something else answers there", "larger than 65536 bytes"}},
		"behind a proxy":     {set(cloudsim.Fault{Status: 403, Header: http.Header{"Metadata-Flavor": {"Google"}}}), auth.ErrNoIdentity, []string{"it answers 403, as it does to requests that a proxy has passed on"}},
		"no service account": {func(_ *testing.T, w *world) { w.instance.SetServiceAccount("") }, auth.ErrNoIdentity, []string{"this instance has no service account", "gcloud compute instances set-service-account"}},
		"throttled":          {set(gcpsim.Throttled), auth.ErrUnavailable, []string{"it answers 429: "}},
		"failing":            {set(gcpsim.Failing), auth.ErrUnavailable, []string{"it answers 503: "}},
		"refusing":           {set(cloudsim.Fault{Status: 400, Header: http.Header{"Metadata-Flavor": {"Google"}}}), auth.ErrUnavailable, []string{"it answers 400"}},
		"slow":               {set(cloudsim.Fault{Delay: time.Minute}), auth.ErrUnavailable, []string{"took the connection and did not answer in time"}},
		"reset":              {set(cloudsim.Fault{Reset: true}), auth.ErrUnavailable, []string{"no usable answer", "connection reset"}},
	}
	for name, f := range failures {
		t.Run(name, func(t *testing.T) { f.check(t, gcp.GCE) })
		t.Run("iam/"+name, func(t *testing.T) { f.check(t, gcp.IAM) })
	}
	for name, f := range map[string]failure{
		"ended":                {func(_ *testing.T, w *world) { w.instance.SetLifetime(-time.Hour) }, auth.ErrUnavailable, []string{"an identity token that ended at ", "it serves an old one: "}},
		"no JWT":               {set(genuine("no token")), auth.ErrUnavailable, []string{"it is no JWT"}},
		"no base64":            {set(genuine("a.%.c")), auth.ErrUnavailable, []string{"not in base64"}},
		"no JSON":              {set(genuine("a.YWI.c")), auth.ErrUnavailable, []string{"not the JSON"}},
		"without the instance": {set(genuine("e30.e30.e30")), auth.ErrNoIdentity, []string{"names no instance", "as on GKE", "login type iam"}},
	} {
		t.Run(name, func(t *testing.T) { f.check(t, gcp.GCE) })
	}
}

func TestNoSignature(t *testing.T) {
	sign := func(fault cloudsim.Fault) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.apis.Set("", fault) }
	}
	const token = "/computeMetadata/v1/instance/service-accounts/default/token"
	for name, f := range map[string]failure{
		"narrow scopes": {func(t *testing.T, w *world) {
			w.enter(t, w.cloud.AddInstance(gcpsim.Instance{Project: "shop-prod", Zone: "europe-west1-b", Name: "docker-1",
				ServiceAccount: w.account, Scopes: []string{"https://www.googleapis.com/auth/logging.write"}}))
		}, auth.ErrNoIdentity, []string{"asking the IAM Credentials API at http://127.0.0.1:", "it answers 403 (Request had insufficient authentication scopes)", "--scopes=cloud-platform"}},
		"may not sign": {func(_ *testing.T, w *world) {
			w.instance.SetServiceAccount(w.cloud.AddServiceAccount("shop-prod", "other"))
		}, auth.ErrNoIdentity,
			[]string{"Permission 'iam.serviceAccounts.signJwt' denied", "let other@shop-prod.iam.gserviceaccount.com sign in its own name", "roles/iam.serviceAccountTokenCreator"}},
		"account deleted": {func(_ *testing.T, w *world) { w.cloud.RemoveServiceAccount(w.account) }, auth.ErrNoIdentity, []string{"roles/iam.serviceAccountTokenCreator"}},
		"API not enabled": {sign(cloudsim.Fault{Status: 403, Body: `{"error":{"code":403,"details":[{"reason":"SERVICE_DISABLED"}]}}`}), auth.ErrNoIdentity, []string{"gcloud services enable iamcredentials.googleapis.com"}},
		"not there":       {func(_ *testing.T, w *world) { w.url = "http://" + closedPort(t) }, auth.ErrUnavailable, []string{"cannot be reached", "connection refused", "HTTPS_PROXY"}},
		"failing":         {sign(cloudsim.Fault{Status: 503, Body: "<html>"}), auth.ErrUnavailable, []string{"it answers 503: "}},
		"throttled":       {sign(cloudsim.Fault{Status: 429, Body: `{"error":{"message":"Quota\n exceeded."}}`}), auth.ErrUnavailable, []string{"it answers 429 (Quota exceeded): "}},
		"reset":           {sign(cloudsim.Fault{Reset: true}), auth.ErrUnavailable, []string{"cannot be reached", "connection reset"}},
		"redirect":        {sign(cloudsim.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}), auth.ErrUnavailable, []string{"a redirect, which is not followed"}},
		"something else":  {sign(cloudsim.Fault{Status: 200, Body: "hello"}), auth.ErrUnavailable, []string{"its answer holds no signed JWT"}},
		"unknown access":  {func(_ *testing.T, w *world) { w.instance.Set(token, genuine(`{"access_token":"ya29.stale"}`)) }, auth.ErrUnavailable, []string{"it answers 401 (Request had invalid authentication credentials)"}},
		"no access":       {func(_ *testing.T, w *world) { w.instance.Set(token, genuine(`{}`)) }, auth.ErrUnavailable, []string{"holds no access token"}},
		"an instance no more": {func(_ *testing.T, w *world) {
			w.instance.Set("/computeMetadata/v1/instance/name", cloudsim.Fault{Status: 404, Header: http.Header{"Metadata-Flavor": {"Google"}}})
		}, auth.ErrNoIdentity, []string{"reading instance/name", "it has no such entry"}},
	} {
		t.Run(name, func(t *testing.T) { f.check(t, gcp.IAM) })
	}
}

func TestGivingUp(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, kind := range []gcp.Type{gcp.GCE, gcp.IAM} {
		attestor, err := gcp.New(w.options(kind))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attestor.Attest(ctx, ""); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "given up") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// One attestation asks once, and the next one asks afresh.
func TestRecovery(t *testing.T) {
	w := newWorld(t)
	const identity = "/computeMetadata/v1/instance/service-accounts/default/identity"
	for i, fault := range []cloudsim.Fault{gcpsim.Failing, gcpsim.Throttled, gcpsim.Absent, {Reset: true}} {
		w.instance.Set("", fault)
		if _, err := attest(t, w.options(gcp.GCE), ""); err == nil {
			t.Errorf("%+v: no error", fault)
		}
		w.instance.Clear("")
		if _, err := attest(t, w.options(gcp.GCE), ""); err != nil {
			t.Errorf("after %+v: %v", fault, err)
		}
		if n := w.instance.Count("GET", identity); n != 2*(i+1) {
			t.Errorf("%+v: %d requests in all", fault, n)
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
