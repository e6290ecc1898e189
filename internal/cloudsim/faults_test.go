package cloudsim_test

import (
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// faulty is a server that says hello unless a fault strikes.
type faulty struct {
	cloudsim.Faults
	cloudsim.Requests
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.Record(r.Method, r.URL.Path)
	if !f.Strike(w, r, r.URL.Path) {
		io.WriteString(w, "hello")
	}
}

func TestLongestPrefixCounts(t *testing.T) {
	var f faulty
	url := start(t, &f, cloudsim.Options{}).URL()
	f.Set("", cloudsim.Fault{Status: 500})
	f.Set("/kv/", cloudsim.Fault{Status: 503, Body: "sealed", Header: http.Header{"Retry-After": {"1"}}})
	f.Set("/kv/open", cloudsim.Fault{})
	want := func(path string, status int, body string) {
		t.Helper()
		if got, content, err := get(t, url+path, nil); err != nil || got != status || content != body {
			t.Errorf("%s: %d %q %v", path, got, content, err)
		}
	}
	want("/", 500, "")
	want("/kv/a", 503, "sealed")
	want("/kv/open", 200, "hello")
	f.Clear("/kv/")
	want("/kv/a", 500, "")
	f.Clear("")
	want("/kv/a", 200, "hello")
	if n := f.Count("GET", "/kv/a"); n != 3 {
		t.Errorf("counted %d", n)
	}
	if n := f.Count("", "/"); n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestFaultEndsByItself(t *testing.T) {
	var f faulty
	url := start(t, &f, cloudsim.Options{}).URL()
	f.Set("", cloudsim.Fault{Status: 429, Times: 2})
	for i, want := range []int{429, 429, 200} {
		if got, _, err := get(t, url, nil); err != nil || got != want {
			t.Errorf("request %d: %d, %v", i, got, err)
		}
	}
}

func TestReset(t *testing.T) {
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(authority.PEM())
	for name, o := range map[string]cloudsim.Options{"plain": {}, "TLS": {Authority: authority}} {
		var f faulty
		url := start(t, &f, o).URL()
		f.Set("", cloudsim.Fault{Reset: true})
		if _, _, err := get(t, url, trust); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCloseEndsDelays would hang for an hour if it did not.
func TestCloseEndsDelays(t *testing.T) {
	f := &faulty{}
	f.Set("", cloudsim.Fault{Delay: time.Hour})
	entered := make(chan struct{})
	server, err := cloudsim.Start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		f.ServeHTTP(w, r)
	}), cloudsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, _, err := get(t, server.URL(), nil)
		failed <- err
	}()
	<-entered
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("the request was answered")
	}
}

func TestDelayOnly(t *testing.T) {
	var f faulty
	url := start(t, &f, cloudsim.Options{}).URL()
	f.Set("", cloudsim.Fault{Delay: time.Millisecond})
	if _, body, err := get(t, url, nil); err != nil || body != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestSeededEnvironmentsAgree(t *testing.T) {
	made := func(source rand.Source) string {
		e := cloudsim.NewEnvironment(nil, source)
		return e.UUID() + e.Text(cloudsim.Base32, 20)
	}
	if a, b := made(rand.NewPCG(1, 2)), made(rand.NewPCG(1, 2)); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if a, b := made(nil), made(nil); a == b {
		t.Errorf("%s twice", a)
	}
}
