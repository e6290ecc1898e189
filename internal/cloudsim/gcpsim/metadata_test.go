package gcpsim_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/gcpsim"
)

const googleKeys = "/oauth2/v1/certs"

func TestOfficialClientReadsTheInstance(t *testing.T) {
	w := newWorld(t)
	c, ctx := official(t, w.server), t.Context()
	id, err := c.InstanceIDWithContext(ctx)
	if err != nil || len(id) != 19 {
		t.Errorf("ID %q, %v", id, err)
	}
	number, err := c.NumericProjectIDWithContext(ctx)
	if err != nil || len(number) != 12 {
		t.Errorf("project number %q, %v", number, err)
	}
	read := func(what, want string, got string, err error) {
		t.Helper()
		if got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", what, got, err, want)
		}
	}
	name, err := c.InstanceNameWithContext(ctx)
	read("name", "docker-1", name, err)
	zone, err := c.ZoneWithContext(ctx)
	read("zone", "europe-west1-b", zone, err)
	project, err := c.ProjectIDWithContext(ctx)
	read("project", "shop-prod", project, err)
	email, err := c.EmailWithContext(ctx, "")
	read("email", hostAccount, email, err)
	scopes, err := c.ScopesWithContext(ctx, hostAccount)
	read("scopes", gcpsim.CloudPlatform, strings.Join(scopes, " "), err)
	accounts, err := c.GetWithContext(ctx, "instance/service-accounts/")
	read("accounts", "default/\n"+hostAccount+"/\n", accounts, err)
	if n := w.instance.Count("GET", "/computeMetadata/v1/instance/name"); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestWhatTheMetadataServerRefuses(t *testing.T) {
	w := newWorld(t)
	google := []string{"Metadata-Flavor", "Google"}
	const name, identity = "/computeMetadata/v1/instance/name", "/computeMetadata/v1/instance/service-accounts/default/identity"
	for what, c := range map[string]struct {
		method, path string
		header       []string
		status       int
		says         string
	}{
		"no header":     {"GET", name, nil, 403, "Missing Metadata-Flavor:Google header."},
		"wrong header":  {"GET", name, []string{"Metadata-Flavor", "Amazon"}, 403, "Missing"},
		"passed on":     {"GET", name, append([]string{"X-Forwarded-For", "10.0.0.1"}, google...), 403, "X-Forwarded-For"},
		"writing":       {"PUT", name, google, 405, "Method not allowed."},
		"unknown":       {"GET", name + "s", google, 404, "not found"},
		"no audience":   {"GET", identity, google, 400, "non-empty audience parameter required"},
		"unknown entry": {"GET", identity + "s", google, 404, "not found"},
		"other account": {"GET", strings.Replace(identity, "default", "other", 1), google, 404, "not found"},
		"asked who":     {"GET", "/", nil, 200, "computeMetadata/"},
	} {
		status, header, body := do(t, c.method, w.server+c.path, "", c.header...)
		if status != c.status || !strings.Contains(body, c.says) || header.Get("Metadata-Flavor") != "Google" {
			t.Errorf("%s: %d, %v, %s", what, status, header, body)
		}
	}
}

// TestAttributes asks as Google's own client and as cloud-init's data source do.
func TestAttributes(t *testing.T) {
	w := newWorld(t)
	c, ctx := official(t, w.server), t.Context()
	w.instance.SetAttribute("user-data", "#cloud-config\n{}\n")
	w.instance.SetAttribute("quaymaster-vault-role", "docker-host")
	names, err := c.InstanceAttributesWithContext(ctx)
	if err != nil || !slices.Equal(names, []string{"quaymaster-vault-role", "user-data"}) {
		t.Errorf("%q, %v", names, err)
	}
	hostname, err := c.HostnameWithContext(ctx)
	if err != nil || hostname != "docker-1.europe-west1-b.c.shop-prod.internal" {
		t.Errorf("%q, %v", hostname, err)
	}
	_, _, number := do(t, "GET", w.server+"/computeMetadata/v1/project/numeric-project-id", "", "Metadata-Flavor", "Google") // the client keeps it for the process
	for path, want := range map[string]string{
		"instance/attributes/?recursive=True":           `{"quaymaster-vault-role":"docker-host","user-data":"#cloud-config\n{}\n"}`,
		"project/attributes/?recursive=True":            `{}`,
		"instance/attributes/user-data?alt=json":        `"#cloud-config\n{}\n"`,
		"instance/attributes/user-data":                 "#cloud-config\n{}\n",
		"project/?recursive=true&alt=json":              `{"attributes":{},"numericProjectId":` + number + `,"projectId":"shop-prod"}`,
		"instance/attributes":                           "quaymaster-vault-role\nuser-data\n", // after the redirection to it
		"instance/attributes/quaymaster-vault-role?x=y": "docker-host",
	} {
		status, _, body := do(t, "GET", w.server+"/computeMetadata/v1/"+path, "", "Metadata-Flavor", "Google")
		if status != 200 || body != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	w.instance.SetAttribute("user-data", "")
	if status, _, _ := do(t, "GET", w.server+"/computeMetadata/v1/instance/attributes/user-data", "", "Metadata-Flavor", "Google"); status != 404 {
		t.Errorf("no user-data: %d", status)
	}
}

func TestNoServiceAccount(t *testing.T) {
	w := newWorld(t)
	w.instance.SetServiceAccount("")
	c := official(t, w.server)
	for _, entry := range []string{"", "default/email", "default/token", "default/identity?audience=a"} {
		_, err := c.GetWithContext(t.Context(), "instance/service-accounts/"+entry)
		if _, undefined := errors.AsType[metadata.NotDefinedError](err); !undefined {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

func TestIdentityTokens(t *testing.T) {
	w := newWorld(t)
	now := w.clock.now().Unix()
	claims, err := verified(t, w.identity(t, "audience=vault%2Fdocker-host&format=full"), w.certified(t, googleKeys))
	if err != nil {
		t.Fatal(err)
	}
	for claim, want := range map[string]any{"iss": "https://accounts.google.com", "aud": "vault/docker-host", "email": hostAccount,
		"email_verified": true, "iat": float64(now), "exp": float64(now + 3600), "azp": claims["sub"]} {
		if claims[claim] != want {
			t.Errorf("%s is %v, want %v", claim, claims[claim], want)
		}
	}
	instance := claims["google"].(map[string]any)["compute_engine"].(map[string]any)
	for claim, want := range map[string]any{"project_id": "shop-prod", "zone": "europe-west1-b", "instance_name": "docker-1",
		"instance_creation_timestamp": float64(now)} {
		if instance[claim] != want {
			t.Errorf("%s is %v, want %v", claim, instance[claim], want)
		}
	}
	if names := slices.Sorted(maps.Keys(instance)); len(names) != 6 {
		t.Errorf("%v", names)
	}
	standard, err := verified(t, w.identity(t, "audience=a"), w.keySet(t))
	if err != nil || standard["google"] != nil || standard["email"] != nil {
		t.Errorf("a standard token: %v, %v", standard, err)
	}
}

func TestSwitchesOfIdentityTokens(t *testing.T) {
	w := newWorld(t)
	w.instance.SetSkew(-2 * time.Hour)
	w.instance.SetAudience("other")
	claims, err := verified(t, w.identity(t, "audience=a&format=full"), w.keySet(t))
	if err != nil {
		t.Fatal(err)
	}
	if claims["aud"] != "other" || claims["exp"] != float64(w.clock.now().Add(-time.Hour).Unix()) {
		t.Errorf("%v", claims)
	}
	w.instance.SetLifetime(-time.Minute)
	claims, err = verified(t, w.identity(t, "audience=a&format=full"), w.keySet(t))
	if err != nil || claims["exp"] != float64(w.clock.now().Add(-2*time.Hour-time.Minute).Unix()) {
		t.Errorf("%v, %v", claims, err)
	}
}

func TestDate(t *testing.T) {
	w := newWorld(t)
	for _, fault := range []cloudsim.Fault{{}, gcpsim.Throttled} {
		w.instance.Set("", fault)
		for by, want := range map[time.Duration]string{0: "Sun, 01 Mar 2026 12:00:00 GMT", -time.Hour: "Sun, 01 Mar 2026 11:00:00 GMT"} {
			w.instance.SetSkew(by)
			if _, header, _ := do(t, "GET", w.server+"/", ""); header.Get("Date") != want {
				t.Errorf("%s: the date is %s", by, header.Get("Date"))
			}
		}
	}
	w.instance.SetUndated(true)
	if _, header, _ := do(t, "GET", w.server+"/", ""); header.Get("Date") != "" {
		t.Errorf("the date is %s", header.Get("Date"))
	}
}

func TestGoogleKeepsTheKeyBefore(t *testing.T) {
	w := newWorld(t)
	token := w.identity(t, "audience=a")
	for rotations, valid := range []bool{true, true, false} {
		for _, keys := range []func() error{
			func() error { _, err := verified(t, token, w.certified(t, googleKeys)); return err },
			func() error { _, err := verified(t, token, w.keySet(t)); return err },
		} {
			if err := keys(); (err == nil) != valid {
				t.Errorf("after %d rotations: %v", rotations, err)
			}
		}
		w.cloud.RotateKey()
	}
}

func TestFaults(t *testing.T) {
	w := newWorld(t)
	for _, fault := range []struct {
		status int
		set    func()
	}{
		{429, func() { w.instance.Set("", gcpsim.Throttled) }},
		{503, func() { w.instance.Set("", gcpsim.Failing) }},
	} {
		fault.set()
		status, header, _ := do(t, "GET", w.server+"/", "")
		if status != fault.status || header.Get("Metadata-Flavor") != "Google" {
			t.Errorf("%d, %v", status, header)
		}
	}
	w.instance.Set("", gcpsim.Absent)
	if status, header, _ := do(t, "GET", w.server+"/", ""); status != 404 || header.Get("Metadata-Flavor") != "" {
		t.Errorf("%d, %v", status, header)
	}
}
