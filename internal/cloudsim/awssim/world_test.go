package awssim_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

const (
	accountID   = "123456789012"
	instanceID  = "i-0123456789abcdef0"
	callerQuery = "Action=GetCallerIdentity&Version=2011-06-15"
	lifetime    = 6 * time.Hour
)

// clock stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

// newAccount has no roles and users yet. A nil clock is the machine's.
func newAccount(c *clock) *awssim.Account {
	if c == nil {
		return awssim.NewAccount(accountID, cloudsim.NewEnvironment(nil, nil))
	}
	return awssim.NewAccount(accountID, cloudsim.NewEnvironment(c.now, nil))
}

func start(t *testing.T, handler http.Handler, o cloudsim.Options) (url string) {
	t.Helper()
	server, err := cloudsim.Start(handler, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.URL()
}

// client keeps no connections, so there is nothing left when a test ends.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
}

// do returns status, headers and body of an answer.
func do(t *testing.T, request *http.Request) (int, http.Header, string) {
	t.Helper()
	response, err := client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

// scope is what a request is signed for.
type scope struct {
	service, region string
	at              time.Time
}

// signed is a request with a form, signed by the official signer.
func signed(t *testing.T, url, form string, keys awssim.Keys, s scope) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Vault-AWS-IAM-Server-ID", "vault.internal")
	sign(t, request, form, keys, s)
	return request
}

func sign(t *testing.T, request *http.Request, form string, keys awssim.Keys, s scope) {
	t.Helper()
	sum := sha256.Sum256([]byte(form))
	own := aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}
	if err := v4.NewSigner().SignHTTP(context.Background(), own, request, hex.EncodeToString(sum[:]), s.service, s.region, s.at); err != nil {
		t.Fatal(err)
	}
}

// loginBody is what a client of Vault sends to log in with keys.
func loginBody(t *testing.T, role string, keys awssim.Keys) map[string]any {
	t.Helper()
	const url = "https://sts.amazonaws.com/"
	request := signed(t, url, callerQuery, keys, scope{"sts", "us-east-1", time.Now()})
	headers := map[string]any{}
	for name := range request.Header {
		headers[name] = request.Header.Get(name)
	}
	return map[string]any{
		"role": role, "iam_http_request_method": "POST", "iam_request_headers": headers,
		"iam_request_url":  base64.StdEncoding.EncodeToString([]byte(url)),
		"iam_request_body": base64.StdEncoding.EncodeToString([]byte(callerQuery)),
	}
}
