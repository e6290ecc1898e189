package detect_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/detect"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nowhere is an address at which nothing listens.
const nowhere = "http://127.0.0.1:1"

// elsewhere are options under which nothing is found.
func elsewhere(t *testing.T) detect.Options {
	return detect.Options{
		DMI:       filepath.Join(t.TempDir(), "none"),
		Endpoints: map[detect.Cloud]string{detect.AWS: nowhere, detect.Azure: nowhere, detect.GCP: nowhere},
		Getenv:    func(string) string { return "" },
	}
}

func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func ec2() *awssim.IMDS {
	account := awssim.NewAccount("123456789012", cloudsim.NewEnvironment(nil, nil))
	return awssim.NewIMDS(account, awssim.Instance{ID: "i-0abc", Region: "eu-west-1", AvailabilityZone: "eu-west-1a"})
}

var azureVM = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata") != "true" || r.URL.Path != "/metadata/instance" {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, `{"compute":{"subscriptionId":"8d10da13-8125-4ba9-a717-bf7490507b3d","vmId":"13f56399-bd52-4150-9748-7190aae1ff21"}}`)
})

var gceVM = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata-Flavor") != "Google" {
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	w.Header().Set("Metadata-Flavor", "Google")
	fmt.Fprint(w, "my-project")
})

func TestDetectByMetadata(t *testing.T) {
	for cloud, service := range map[detect.Cloud]http.Handler{detect.AWS: ec2(), detect.Azure: azureVM, detect.GCP: gceVM} {
		o := elsewhere(t)
		o.Endpoints[cloud] = serve(t, service)
		if got, err := detect.Detect(t.Context(), o); got != cloud || err != nil {
			t.Errorf("%s: detected %q, %v", cloud, got, err)
		}
	}
}

func TestDetectByFirmware(t *testing.T) {
	for _, c := range []struct {
		file, content string
		want          detect.Cloud
	}{
		{"sys_vendor", "Amazon EC2\n", detect.AWS},
		{"product_uuid", "EC2E1916-9099-7CAF-FD21-012345ABCDEF\n", detect.AWS},
		{"bios_version", "4.2.amazon\n", detect.AWS},
		{"chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n", detect.Azure},
		{"product_name", "Google Compute Engine\n", detect.GCP},
	} {
		o := elsewhere(t)
		o.DMI = t.TempDir()
		if err := os.WriteFile(filepath.Join(o.DMI, c.file), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := detect.Detect(t.Context(), o); got != c.want || err != nil {
			t.Errorf("%s %q: detected %q, %v", c.file, c.content, got, err)
		}
	}
}

func TestDetectByEnvironment(t *testing.T) {
	for variable, want := range map[string]detect.Cloud{
		"AWS_EC2_METADATA_SERVICE_ENDPOINT":      detect.AWS,
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": detect.AWS,
		"AWS_CONTAINER_CREDENTIALS_FULL_URI":     detect.AWS,
		"GCE_METADATA_HOST":                      detect.GCP,
	} {
		o := elsewhere(t)
		o.Getenv = func(name string) string {
			if name == variable {
				return "127.0.0.1:1"
			}
			return ""
		}
		if got, err := detect.Detect(t.Context(), o); got != want || err != nil {
			t.Errorf("%s: detected %q, %v", variable, got, err)
		}
	}
}

// TestAProxyIsNotACloud: whatever answers at the address without proving
// itself does not count.
func TestAProxyIsNotACloud(t *testing.T) {
	for name, proxy := range map[string]http.HandlerFunc{
		"forbids": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "denied by proxy", http.StatusForbidden) },
		"logs in": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>please log in</html>") },
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"babbles": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("{", 1<<20)) },
	} {
		o := elsewhere(t)
		base := serve(t, proxy)
		o.Endpoints = map[detect.Cloud]string{detect.AWS: base, detect.Azure: base, detect.GCP: base}
		if got, err := detect.Detect(t.Context(), o); got != "" || !errors.Is(err, auth.ErrNoIdentity) {
			t.Errorf("a proxy that %s: detected %q, %v", name, got, err)
		}
	}
}

// TestAProxyOfTheEnvironmentIsNotAsked: it would be told that somebody looks
// for an identity, and could answer.
func TestAProxyOfTheEnvironmentIsNotAsked(t *testing.T) {
	proxy := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("http_proxy", proxy)
	o := elsewhere(t)
	o.Endpoints[detect.GCP] = serve(t, gceVM)
	if got, err := detect.Detect(t.Context(), o); got != detect.GCP || err != nil {
		t.Errorf("detected %q, %v", got, err)
	}
}

// TestProbesRunSideBySide: each service answers only when all have been asked.
func TestProbesRunSideBySide(t *testing.T) {
	var all sync.WaitGroup
	all.Add(3)
	once := func(next http.Handler) http.Handler {
		var first sync.Once
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			first.Do(func() {
				all.Done()
				all.Wait()
			})
			next.ServeHTTP(w, r)
		})
	}
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) })
	o := elsewhere(t)
	o.Endpoints = map[detect.Cloud]string{
		detect.AWS: serve(t, once(refuse)), detect.Azure: serve(t, once(azureVM)), detect.GCP: serve(t, once(refuse)),
	}
	if got, err := detect.Detect(t.Context(), o); got != detect.Azure || err != nil {
		t.Errorf("detected %q, %v", got, err)
	}
}

func TestNothingFoundSaysWhatWasTried(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	o := elsewhere(t)
	o.Endpoints[detect.GCP] = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	_, err := detect.Detect(t.Context(), o)
	if !errors.Is(err, auth.ErrNoIdentity) {
		t.Fatal(err)
	}
	for _, want := range []string{"set identity to its name", "firmware (", "there are no tables", "aws metadata service at " + nowhere,
		"connection refused", "azure metadata service", "gcp metadata service", "deadline exceeded"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestTwoCloudsAreNotCertain(t *testing.T) {
	o := elsewhere(t)
	o.Endpoints[detect.AWS], o.Endpoints[detect.GCP] = serve(t, ec2()), serve(t, gceVM)
	if got, err := detect.Detect(t.Context(), o); got != "" || err == nil || !strings.Contains(err.Error(), "several metadata services answer") {
		t.Errorf("detected %q, %v", got, err)
	}
}
