package imds_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// TestMain puts a proxy into the environment: net/http reads that once in the
// life of a process.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "proxy") }))
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		os.Setenv(name, proxy.URL)
	}
	os.Unsetenv("NO_PROXY")
	os.Unsetenv("no_proxy")
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// get returns the whole body that a request yields.
func get(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	direct := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "direct") })
	// Loopback is never sent through a proxy. 0.0.0.0 is the same machine
	// under an address that is.
	url := strings.Replace(direct, "127.0.0.1", "0.0.0.0", 1)
	proxied := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	if body, err := get(proxied, url); body != "proxy" {
		t.Fatalf("the environment's proxy does not work: %q, %v", body, err)
	}
	if body, err := get(imds.NewClient(), url); body != "direct" {
		t.Errorf("answered by %q, %v", body, err)
	}
}

func TestRedirectIsAnError(t *testing.T) {
	var followed atomic.Bool
	target := serve(t, func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
	})
	if _, err := get(imds.NewClient(), url); !errors.Is(err, imds.ErrRedirect) || followed.Load() {
		t.Errorf("%v, followed: %v", err, followed.Load())
	}
}

func TestAnswersAreSmall(t *testing.T) {
	for size, want := range map[int]error{0: nil, imds.MaxBody: nil, imds.MaxBody + 1: imds.ErrTooLarge, 10 * imds.MaxBody: imds.ErrTooLarge} {
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", size)) })
		body, err := get(imds.NewClient(), url)
		if !errors.Is(err, want) || (want == nil && len(body) != size) || len(body) > imds.MaxBody {
			t.Errorf("%d bytes: read %d, %v", size, len(body), err)
		}
	}
}

func TestHeadersAreSmall(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Large", strings.Repeat("x", 1<<20)) })
	if _, err := get(imds.NewClient(), url); err == nil {
		t.Error("a megabyte of headers was accepted")
	}
}

func TestStalledServerTimesOut(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"before the answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"within the answer": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := get(imds.NewClient(), serve(t, handler))
			if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
				t.Errorf("%v is not a time-out", err)
			}
		})
	}
}

func TestNothingIsKeptBetweenRequests(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		if len(r.Cookies()) > 0 {
			t.Error("a cookie came back")
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client := imds.NewClient()
	for range 3 {
		if _, err := get(client, server.URL); err != nil {
			t.Fatal(err)
		}
	}
	if connections.Load() != 3 {
		t.Errorf("3 requests used %d connections", connections.Load())
	}
}
