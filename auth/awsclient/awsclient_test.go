package awsclient_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth/awsclient"
	"github.com/quaymaster/quaymaster/auth/bounded"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(once bool) awsclient.Options {
	return awsclient.Options{Dial: time.Minute, Request: time.Minute, MaxAnswer: 64 << 10, Once: once}
}

// trusted serves by TLS and has AWS_CA_BUNDLE name the authority.
func trusted(t *testing.T, handler http.Handler) string {
	t.Helper()
	authority, err := cloudsim.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server, err := cloudsim.Start(handler, cloudsim.Options{Authority: authority})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	bundle := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(bundle, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	return server.URL()
}

// An answer is read as far as it may be, and a redirect is an answer.
func TestAnswers(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/elsewhere", http.RedirectHandler("/", http.StatusFound))
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 65<<10)) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	url := trusted(t, mux)
	for _, once := range []bool{false, true} {
		_, client, err := awsclient.New(options(once))
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]int{"/": http.StatusOK, "/elsewhere": http.StatusFound, "/large": http.StatusOK} {
			answer, err := client.Post(url+path, "", strings.NewReader("ask"))
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			_, isLarge := errors.AsType[*bounded.TooLarge](err)
			if answer.StatusCode != want || isLarge != (path == "/large") || (path == "/" && string(content) != "ask") {
				t.Errorf("%s: %d, %d bytes, %v", path, answer.StatusCode, len(content), err)
			}
		}
		client.CloseIdleConnections()
	}
}

func TestAuthoritiesThatAreNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{file: "holds no PEM certificate", file + "2": "no such file"} {
		t.Setenv("AWS_CA_BUNDLE", name)
		if _, _, err := awsclient.New(options(true)); err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// Nothing of AWS's words is passed on but what has the form that it should have.
func TestWords(t *testing.T) {
	for code, want := range map[string]string{"AccessDenied": "AccessDenied", "<b>": "an unknown code", "": "an unknown code"} {
		if got := awsclient.Code(code); got != want {
			t.Errorf("%q: %q", code, got)
		}
	}
	const who = "arn:aws:sts::111122223333:assumed-role/docker-host/i-0abc"
	for message, want := range map[string]string{"User: " + who + " is not authorized to perform: kms:Encrypt": who, "User: <b> is not authorized": "", "no": ""} {
		if got := awsclient.Denied(message); got != want {
			t.Errorf("%q: %q", message, got)
		}
	}
	if got := awsclient.Cause(errors.New("secret\nwords")); got != "the connection ended" {
		t.Error(got)
	}
}
