package cloudsim_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })

func start(t *testing.T, handler http.Handler, o cloudsim.Options) *cloudsim.Server {
	t.Helper()
	server, err := cloudsim.Start(handler, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// get asks once, on a connection of its own.
func get(t *testing.T, url string, trust *x509.CertPool) (status int, body string, err error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trust}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

func TestServerCanMoveBackToItsAddress(t *testing.T) {
	first, err := cloudsim.Start(hello, cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, body, err := get(t, first.URL(), nil); err != nil || body != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := get(t, first.URL(), nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed server answers %v", err)
	}
	second := start(t, hello, cloudsim.Options{Address: strings.TrimPrefix(first.URL(), "http://")})
	if _, body, err := get(t, second.URL(), nil); err != nil || body != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestServerRefusesAddressesOthersCanReach(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "localhost:0", "192.0.2.1:0", "127.0.0.1"} {
		if server, err := cloudsim.Start(hello, cloudsim.Options{Address: address}); err == nil {
			t.Errorf("%s was accepted", address)
			server.Close()
		}
	}
}

func TestTLS(t *testing.T) {
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server := start(t, hello, cloudsim.Options{Authority: authority})
	if _, _, err := get(t, server.URL(), nil); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without trust: %v", err)
	}
	trust := x509.NewCertPool()
	if !trust.AppendCertsFromPEM(authority.PEM()) {
		t.Fatal("the authority's PEM holds no certificate")
	}
	for _, url := range []string{server.URL(), strings.Replace(server.URL(), "127.0.0.1", "localhost", 1)} {
		if _, body, err := get(t, url, trust); err != nil || body != "hello" {
			t.Errorf("%s: got %q, %v", url, body, err)
		}
	}
}
