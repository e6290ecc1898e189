package gcpsm_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/gcp"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
	"github.com/quaymaster/quaymaster/providers"
	"github.com/quaymaster/quaymaster/providers/gcpsm"
)

const (
	db     = project + "/secrets/db"
	dbPath = "/v1/" + db + "/versions/latest"
)

// texts are the fields as a container would get them.
func texts(s secret.Secret) map[string]string {
	out := map[string]string{}
	for name, value := range s.Fields {
		out[name] = string(value.Reveal()) // to compare
	}
	return out
}

func TestFields(t *testing.T) {
	w := newWorld(t)
	for payload, want := range map[string]map[string]string{
		"hunter2":          {"value": "hunter2"},
		"":                 {"value": ""},
		"{}":               {"value": "{}"},
		`["a"]`:            {"value": `["a"]`},
		`{"a":1`:           {"value": `{"a":1`},
		`{"a":1} x`:        {"value": `{"a":1} x`},
		"{\"a\":\"\xff\"}": {"value": "{\"a\":\"\xff\"}"},
		` {"user":"a\"b","port":5432,"big":12345678901234567890,"tls":{"on": true},"none":null,"":"x"} `: {
			"user": `a"b`, "port": "5432", "big": "12345678901234567890", "tls": `{"on": true}`, "none": "null", "": "x"},
	} {
		w.put(t, db, payload)
		found, err := w.provider.Fetch(t.Context(), parse(t, "gcp:shop-prod/db"))
		if err != nil {
			t.Errorf("%q: %v", payload, err)
			continue
		}
		got := texts(found)
		for name, value := range want {
			if got[name] != value || len(got) != len(want) {
				t.Errorf("%q: field %q is %q of %v", payload, name, got[name], found.Names())
			}
		}
	}
}

func TestVersions(t *testing.T) {
	w := newWorld(t)
	w.put(t, db, "one")
	w.put(t, db, "two")
	if err := w.cloud.SetAlias(db, "stable", 1); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"gcp:shop-prod/db": "2", "gcp:shop-prod/db@latest": "2", "gcp:shop-prod/db@stable": "1", "gcp:shop-prod/db@1": "1"} {
		found, err := w.provider.Fetch(t.Context(), parse(t, ref))
		if err != nil || found.Version != want {
			t.Errorf("%s is version %q, %v", ref, found.Version, err)
		}
		if version, err := w.provider.CurrentVersion(t.Context(), parse(t, ref)); err != nil || version != want {
			t.Errorf("%s is now version %q, %v", ref, version, err)
		}
	}
}

// Whoever may read a secret, and not look at it, learns its version as well,
// and is not asked in vain each time.
func TestCurrentVersionWithoutTheViewersRole(t *testing.T) {
	w, now := newWorld(t), time.Now()
	p := w.read(t, gcpsm.Options{Endpoint: w.server.URL(), Now: func() time.Time { return now }}, gcp.AccessOptions{})
	w.put(t, db, "one")
	w.cloud.Revoke(w.account, project, gcpsim.SecretViewer)
	for range 3 {
		if version, err := p.CurrentVersion(t.Context(), parse(t, "gcp:shop-prod/db")); err != nil || version != "1" {
			t.Errorf("version %q, %v", version, err)
		}
	}
	if looks, reads := w.api.Count("get", dbPath), w.api.Count("access", dbPath); looks != 1 || reads != 3 {
		t.Errorf("%d looks, %d reads", looks, reads)
	}
	w.cloud.Grant(w.account, db, gcpsim.SecretViewer)
	now = now.Add(time.Hour)
	if _, err := p.CurrentVersion(t.Context(), parse(t, "gcp:shop-prod/db")); err != nil || w.api.Count("access", dbPath) != 3 {
		t.Errorf("the new role is not used: %v", err)
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	for ref, want := range map[string]string{
		"gcp:db":                                    "write gcp:project/secret, or gcp:project/location/secret",
		"gcp:projects/p/secrets/s":                  "write gcp:project/secret",
		"gcp:Shop-Prod/db":                          `"Shop-Prod" is not the ID of a project`,
		"gcp:shop-prod/europe.west3/db":             `"europe.west3" is not a location`,
		"gcp:shop-prod/db.password":                 `"db.password" is not the name of a secret`,
		"gcp:shop-prod/a%3Aaccess":                  "is not the name of a secret",
		"gcp:shop-prod/a%25":                        "is not the name of a secret",
		"gcp:shop-prod/" + strings.Repeat("a", 256): "255 of them at most",
		"gcp:shop-prod/db@0":                        "@0 is neither the number of a version nor an alias",
		"gcp:shop-prod/db@1%2F..%2F2":               "is neither the number",
		"gcp:shop-prod/db@latest%3Aaccess":          "is neither the number",
		"gcp:shop-prod/db?region=eu":                "a secret takes no parameters",
	} {
		_, err := w.provider.Fetch(t.Context(), parse(t, ref))
		failed(t, err, providers.ErrInvalid, parse(t, ref).String(), want)
		_, err = w.provider.CurrentVersion(t.Context(), parse(t, ref))
		failed(t, err, providers.ErrInvalid, want)
	}
	for _, resource := range []string{"projects/123456789012/secrets/Db_1-x", "projects/example.com:shop/secrets/db"} {
		w.put(t, resource, "x")
		w.cloud.Grant(w.account, resource, gcpsim.SecretAccessor)
		ref := secret.Ref{Provider: "gcp", Path: strings.NewReplacer("projects/", "", "secrets/", "").Replace(resource)}
		if _, err := w.provider.Fetch(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
}

// answering makes the API give one answer to all.
func answering(fault cloudsim.Fault) func(*testing.T, *world) {
	return func(_ *testing.T, w *world) { w.api.Set("", fault) }
}

func googles(code int, status, reason string) func(*testing.T, *world) {
	return answering(cloudsim.Fault{Status: code, Body: `{"error":{"status":"` + status + `","message":"ya29.\nx","details":[{"reason":"` + reason + `"}]}}`})
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(t *testing.T, w *world)
		ref     string
		kind    error
		texts   []string
	}{
		"no such secret":  {nil, "gcp:shop-prod/none", providers.ErrNotFound, []string{"gcp:shop-prod/none", "404 NOT_FOUND", "gcloud secrets versions list none --project=shop-prod"}},
		"no such version": {nil, "gcp:shop-prod/db@3", providers.ErrNotFound, []string{"gcp:shop-prod/db@3"}},
		"not granted": {func(_ *testing.T, w *world) { w.cloud.Revoke(w.account, project, gcpsim.SecretAccessor) }, "gcp:shop-prod/db", providers.ErrDenied,
			[]string{"403 PERMISSION_DENIED (IAM_PERMISSION_DENIED)", "roles/secretmanager.secretAccessor on that secret", "gcloud secrets add-iam-policy-binding db --project=shop-prod --member"}},
		"not granted in its region": {nil, "gcp:other/europe-west3/db", providers.ErrDenied, []string{"add-iam-policy-binding db --project=other --location=europe-west3"}},
		"narrow scopes": {func(t *testing.T, w *world) {
			narrow := docker1
			narrow.Scopes = []string{"https://www.googleapis.com/auth/logging.write"}
			w.enter(t, narrow)
		}, "gcp:shop-prod/db", providers.ErrDenied, []string{"ACCESS_TOKEN_SCOPE_INSUFFICIENT", "--scopes=cloud-platform"}},
		"API not enabled": {func(_ *testing.T, w *world) { w.cloud.SetSecretManager("shop-prod", false) }, "gcp:shop-prod/db", providers.ErrDenied,
			[]string{"SERVICE_DISABLED", "gcloud services enable secretmanager.googleapis.com --project=shop-prod"}},
		"outside of a perimeter": {googles(403, "PERMISSION_DENIED", "SECURITY_POLICY_VIOLATED"), "gcp:shop-prod/db", providers.ErrDenied, []string{"VPC Service Controls"}},
		"disabled": {func(t *testing.T, w *world) { w.state(t, gcpsim.Disabled) }, "gcp:shop-prod/db", providers.ErrDenied,
			[]string{"400 FAILED_PRECONDITION", "the version is disabled: enable it"}},
		"destroyed":   {func(t *testing.T, w *world) { w.state(t, gcpsim.Destroyed) }, "gcp:shop-prod/db", providers.ErrNotFound, []string{"the version is destroyed"}},
		"its key":     {googles(400, "FAILED_PRECONDITION", ""), "gcp:shop-prod/db", providers.ErrDenied, []string{"the key that encrypts it"}},
		"bad request": {googles(400, "INVALID_ARGUMENT", ""), "gcp:shop-prod/db", providers.ErrInvalid, []string{"400 INVALID_ARGUMENT: it does not understand the name"}},
		"damaged": {func(t *testing.T, w *world) {
			if err := w.cloud.Damage(db, 1); err != nil {
				t.Fatal(err)
			}
		}, "gcp:shop-prod/db", providers.ErrUnavailable, []string{"version 1 does not match its checksum (CRC32C)"}},
		"no checksum":     {answering(cloudsim.Fault{Status: 200, Body: `{"name":"projects/1/secrets/db/versions/1","payload":{"data":"aHg="}}`}), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"does not match its checksum"}},
		"another secret":  {answering(cloudsim.Fault{Status: 200, Body: `{"name":"projects/1/secrets/other/versions/1","payload":{"data":"","dataCrc32c":"0"}}`}), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"not about that secret"}},
		"no payload":      {answering(cloudsim.Fault{Status: 200, Body: `{"name":"projects/1/secrets/db/versions/1"}`}), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"not about that secret"}},
		"quota":           {googles(429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"429 RESOURCE_EXHAUSTED (RATE_LIMIT_EXCEEDED): the project's quota"}},
		"failing":         {googles(503, "UNAVAILABLE", "no code"), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"it answers 503 UNAVAILABLE"}},
		"a proxy's 403":   {answering(cloudsim.Fault{Status: 403, Body: "<html>Forbidden</html>"}), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"it answers 403, and not as Google does"}},
		"something's 404": {answering(cloudsim.Fault{Status: 404, Body: `{"error":"no"}`}), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"and not as Google does"}},
		"a redirect":      {answering(cloudsim.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"a redirect, which is not followed"}},
		"a large answer":  {answering(cloudsim.Fault{Status: 200, Body: strings.Repeat(" ", 1<<20)}), "gcp:shop-prod/db", providers.ErrUnavailable, []string{"larger than 262144 bytes"}},
		"no identity": {func(t *testing.T, w *world) {
			w.enter(t, gcpsim.Instance{Project: "shop-prod", Zone: "z", Name: "bare"})
		}, "gcp:shop-prod/db", providers.ErrDenied, []string{"no access token: this instance has no service account"}},
		"no token for now": {func(t *testing.T, _ *world) { t.Setenv("GCE_METADATA_HOST", failing(t)) }, "gcp:shop-prod/db", providers.ErrUnavailable, []string{"no access token: reading instance/service-accounts/default/token"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(t, db, "hunter2")
			if c.arrange != nil {
				c.arrange(t, w)
			}
			_, err := w.provider.Fetch(t.Context(), parse(t, c.ref))
			failed(t, err, c.kind, append(c.texts, "GCP Secret Manager at "+w.server.URL())...)
		})
	}
}

// state changes the state of the first version, which is the current one.
func (w *world) state(t *testing.T, state gcpsim.VersionState) {
	t.Helper()
	if err := w.cloud.SetVersionState(db, 1, state); err != nil {
		t.Fatal(err)
	}
}

// failing is the address of a metadata server that has nothing to say now.
func failing(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })).URL(), "http://")
}

// What can be looked at and not read has no current version, either.
func TestCurrentVersionOfWhatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.put(t, db, "hunter2")
	ref := parse(t, "gcp:shop-prod/db")
	w.state(t, gcpsim.Disabled)
	_, err := w.provider.CurrentVersion(t.Context(), ref)
	failed(t, err, providers.ErrDenied, "the version is disabled")
	w.state(t, gcpsim.Destroyed)
	_, err = w.provider.CurrentVersion(t.Context(), ref)
	failed(t, err, providers.ErrNotFound, "the version is destroyed")
	w.cloud.Revoke(w.account, project, gcpsim.SecretAccessor)
	w.cloud.Revoke(w.account, project, gcpsim.SecretViewer)
	_, err = w.provider.CurrentVersion(t.Context(), ref)
	failed(t, err, providers.ErrDenied, "roles/secretmanager.secretAccessor")
}

// A token that ends before its time is not used twice.
func TestARefusedTokenIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.put(t, db, "hunter2")
	ref := parse(t, "gcp:shop-prod/db")
	if _, err := w.provider.Fetch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	w.cloud.RevokeTokens(w.account)
	_, err := w.provider.Fetch(t.Context(), ref)
	failed(t, err, providers.ErrUnavailable, "401 UNAUTHENTICATED", "it does not accept the access token")
	if _, err := w.provider.Fetch(t.Context(), ref); err != nil {
		t.Errorf("the refused token is used again: %v", err)
	}
}

func TestImpersonating(t *testing.T) {
	w := newWorld(t)
	w.put(t, db, "hunter2")
	w.cloud.Revoke(w.account, project, gcpsim.SecretAccessor)
	reader := w.cloud.AddServiceAccount("shop-prod", "reader")
	w.cloud.Grant(reader, db, gcpsim.SecretAccessor)
	p := w.read(t, gcpsm.Options{Endpoint: w.server.URL()}, gcp.AccessOptions{Impersonate: reader, IAMCredentials: serve(t, gcpsim.NewAPIs(w.cloud)).URL()})
	_, err := p.Fetch(t.Context(), parse(t, "gcp:shop-prod/db"))
	failed(t, err, providers.ErrDenied, "no access token", "roles/iam.serviceAccountTokenCreator on "+reader)
	if !errors.Is(err, auth.ErrNoIdentity) {
		t.Error(err)
	}
	if err := w.cloud.AllowImpersonation(w.account, reader); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Fetch(t.Context(), parse(t, "gcp:shop-prod/db")); err != nil {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	w := newWorld(t)
	w.put(t, db, "hunter2")
	t.Setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", w.server.URL()+"/") // as gcloud has it
	if _, err := w.read(t, gcpsm.Options{}, gcp.AccessOptions{}).Fetch(t.Context(), parse(t, "gcp:shop-prod/db")); err != nil {
		t.Error(err)
	}
	for endpoint, want := range map[string]string{
		"secretmanager.internal":        "write it as https://host",
		"https://user:secret@internal":  "only scheme, host, port and path",
		"http://secretmanager.internal": "in clear text: use https",
		"ftp://secretmanager.internal":  "write it as https://host",
		"https://secretmanager/?x=1":    "only scheme, host, port and path",
	} {
		_, err := gcpsm.New(gcpsm.Options{Endpoint: endpoint, Tokens: tokenless{}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "user:secret") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	if _, err := gcpsm.New(gcpsm.Options{}); err == nil {
		t.Error("no tokens are needed")
	}
}

// tokenless has none.
type tokenless struct{}

func (tokenless) Token(context.Context) (secret.Value, error) {
	return secret.Value{}, auth.ErrNoIdentity
}
func (tokenless) Refused(secret.Value) {}
