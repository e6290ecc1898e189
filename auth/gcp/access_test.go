package gcp_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

const (
	tokenPath = "/computeMetadata/v1/instance/service-accounts/default/token"
	reader    = "reader@shop-prod.iam.gserviceaccount.com"
	actPath   = "/v1/projects/-/serviceAccounts/" + reader + ":generateAccessToken"
)

// accessTokens are those of the world's instance, by a clock that the test moves.
func (w *world) accessTokens(t *testing.T, o gcp.AccessOptions) *gcp.AccessTokens {
	t.Helper()
	o.IAMCredentials = w.url
	tokens, err := gcp.NewAccessTokens(o)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func get(t *testing.T, tokens *gcp.AccessTokens) secret.Value {
	t.Helper()
	token, err := tokens.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A token of the stand-in lives 3599 seconds.
func TestAccessTokenIsHeldUntilShortlyBeforeItsEnd(t *testing.T) {
	w, now := newWorld(t), time.Now()
	tokens := w.accessTokens(t, gcp.AccessOptions{Now: func() time.Time { return now }})
	first := get(t, tokens)
	now = now.Add(55 * time.Minute)
	if !get(t, tokens).Equal(first) || w.instance.Count("GET", tokenPath) != 1 {
		t.Error("a token with five minutes left is not used")
	}
	now = now.Add(2 * time.Minute)
	second := get(t, tokens)
	if second.Equal(first) {
		t.Error("a token with less than four minutes left is handed out")
	}
	tokens.Refused(first) // it is not the held one any more
	if !get(t, tokens).Equal(second) {
		t.Error("the refusal of an old token drops the new one")
	}
	tokens.Refused(second)
	if get(t, tokens).Equal(second) {
		t.Error("a refused token is handed out")
	}
}

// While a held token is good, a failure to get the next one is not seen.
func TestAccessTokenOutlivesTheMetadataServer(t *testing.T) {
	w, now := newWorld(t), time.Now()
	tokens := w.accessTokens(t, gcp.AccessOptions{Now: func() time.Time { return now }})
	first := get(t, tokens)
	w.instance.Set("", gcpsim.Failing)
	now = now.Add(57 * time.Minute)
	for range 3 { // one of them asks in vain
		if !get(t, tokens).Equal(first) {
			t.Error("another token")
		}
	}
	if n := w.instance.Count("GET", tokenPath); n != 2 {
		t.Errorf("%d requests", n)
	}
	now = now.Add(3 * time.Minute)
	if _, err := tokens.Token(t.Context()); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "it answers 503") {
		t.Errorf("after the end: %v", err)
	}
	w.instance.Clear("")
	get(t, tokens)
}

func TestAccessTokenIsAskedForOnceForAll(t *testing.T) {
	w := newWorld(t)
	tokens := w.accessTokens(t, gcp.AccessOptions{})
	w.instance.Set("", cloudsim.Fault{Delay: 200 * time.Millisecond}) // long enough for all to come
	const callers = 20
	got := make(chan error)
	for range callers {
		go func() { _, err := tokens.Token(t.Context()); got <- err }()
	}
	for range callers {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	if n := w.instance.Count("GET", tokenPath); n != 1 {
		t.Errorf("%d callers made %d requests", callers, n)
	}
}

// One who goes away takes nobody with him.
func TestAccessTokenWhenTheOneWhoAsksGivesUp(t *testing.T) {
	w := newWorld(t)
	tokens := w.accessTokens(t, gcp.AccessOptions{})
	w.instance.Set("", cloudsim.Fault{Delay: time.Minute, Times: 1})
	ctx, giveUp := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { _, err := tokens.Token(ctx); first <- err }()
	for w.instance.Count("GET", tokenPath) == 0 {
		time.Sleep(time.Millisecond)
	}
	go func() { _, err := tokens.Token(t.Context()); second <- err }()
	giveUp()
	if err := <-first; !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "given up") {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestAccessTokenFailures(t *testing.T) {
	for name, f := range map[string]failure{
		"absent":             {func(t *testing.T, _ *world) { t.Setenv("GCE_METADATA_HOST", closedPort(t)) }, auth.ErrNoIdentity, []string{"reading instance/service-accounts/default/token", "is this a Compute Engine instance?"}},
		"no service account": {func(_ *testing.T, w *world) { w.instance.SetServiceAccount("") }, auth.ErrNoIdentity, []string{"this instance has no service account"}},
		"too large":          {set(genuine(strings.Repeat("x", 1<<20))), auth.ErrNoIdentity, []string{"larger than 65536 bytes"}},
		"no token":           {set(genuine(`{"expires_in":3599}`)), auth.ErrUnavailable, []string{"holds no access token"}},
		"slow":               {set(cloudsim.Fault{Delay: time.Minute}), auth.ErrUnavailable, []string{"did not answer in time"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f.arrange(t, w)
			_, err := w.accessTokens(t, gcp.AccessOptions{}).Token(t.Context())
			f.is(t, err)
		})
	}
}

func TestImpersonation(t *testing.T) {
	w, now := newWorld(t), time.Now()
	if email := w.cloud.AddServiceAccount("shop-prod", "reader"); email != reader {
		t.Fatal(email)
	}
	if err := w.cloud.AllowImpersonation(w.account, reader); err != nil {
		t.Fatal(err)
	}
	tokens := w.accessTokens(t, gcp.AccessOptions{Impersonate: reader, Now: func() time.Time { return now }})
	first := get(t, tokens)
	now = now.Add(50 * time.Minute)
	if !get(t, tokens).Equal(first) || w.apis.Count("POST", actPath) != 1 {
		t.Error("the token is not held")
	}
	if own := get(t, w.accessTokens(t, gcp.AccessOptions{})); own.Equal(first) {
		t.Error("the token is the instance's own")
	}
	now = now.Add(7 * time.Minute)
	if get(t, tokens).Equal(first) {
		t.Error("an old token is handed out")
	}
}

func TestImpersonationFails(t *testing.T) {
	act := func(fault cloudsim.Fault) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.apis.Set("", fault) }
	}
	for name, f := range map[string]failure{
		"not allowed": {func(*testing.T, *world) {}, auth.ErrNoIdentity, []string{"asking the IAM Credentials API at http://127.0.0.1:", " to let this machine act as " + reader,
			"Permission 'iam.serviceAccounts.getAccessToken' denied", "grant this machine's service account roles/iam.serviceAccountTokenCreator on " + reader}},
		"narrow scopes": {func(t *testing.T, w *world) {
			narrow := docker1
			narrow.Scopes = []string{"https://www.googleapis.com/auth/logging.write"}
			w.enter(t, w.cloud.AddInstance(narrow))
		}, auth.ErrNoIdentity, []string{"--scopes=cloud-platform"}},
		"API not enabled": {act(cloudsim.Fault{Status: 403, Body: `{"error":{"code":403,"details":[{"reason":"SERVICE_DISABLED"}]}}`}), auth.ErrNoIdentity, []string{"gcloud services enable iamcredentials.googleapis.com"}},
		"failing":         {act(cloudsim.Fault{Status: 503}), auth.ErrUnavailable, []string{"it answers 503"}},
		"something else":  {act(cloudsim.Fault{Status: 200, Body: `{"accessToken":"ya29.x"}`}), auth.ErrUnavailable, []string{"its answer holds no access token"}},
		"not there":       {func(_ *testing.T, w *world) { w.url = "http://" + closedPort(t) }, auth.ErrUnavailable, []string{"cannot be reached"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cloud.AddServiceAccount("shop-prod", "reader")
			f.arrange(t, w)
			_, err := w.accessTokens(t, gcp.AccessOptions{Impersonate: reader}).Token(t.Context())
			f.is(t, err)
		})
	}
}

func TestNewAccessTokensRefuses(t *testing.T) {
	for want, o := range map[string]gcp.AccessOptions{
		`the service account to impersonate "reader": write its email`: {Impersonate: "reader"},
		`impersonate "a/b@c"`: {Impersonate: "a/b@c"},
		`API: write it`:       {IAMCredentials: "iam.internal"},
	} {
		if _, err := gcp.NewAccessTokens(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}
