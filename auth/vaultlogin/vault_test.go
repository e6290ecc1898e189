package vaultlogin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	address   = "http://127.0.0.1:8200"
	loginBody = "signed-request-worth-a-login"
)

// vault is the part of Vault's API that a login needs, over HTTP on pipes
// instead of sockets, so that hours pass at once in a synctest bubble. Its
// fields are set before or between requests, under mu.
type vault struct {
	mu        sync.Mutex
	ttl       time.Duration
	maxTTL    time.Duration // zero: none
	fixed     bool          // tokens are not renewable
	batch     bool          // tokens are batch tokens: not renewable, no accessor, cannot be revoked
	health    string        // what sys/health answers
	fault     func(path string, w http.ResponseWriter) bool
	logins    int // attempts
	granted   int
	renewals  int
	lookups   int
	revoked   int
	created   int // attempts to make children
	requests  int
	tokens    map[string]*grant
	connected chan net.Conn
	closed    chan struct{}
}

type grant struct {
	born, end time.Time
	parent    *grant // it ends with; nil: none
	revoked   bool
}

// alive reports whether a token has not ended. The caller has locked v.mu.
func (v *vault) alive(g *grant) bool {
	return g != nil && !g.revoked && (v.ttl == 0 || time.Now().Before(g.end)) && (g.parent == nil || v.alive(g.parent))
}

// newVault serves until the test ends.
func newVault(t *testing.T) *vault {
	v := &vault{ttl: time.Hour, tokens: map[string]*grant{}, connected: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: v}
	served := make(chan error)
	go func() { served <- server.Serve(v) }()
	t.Cleanup(func() {
		server.Shutdown(context.Background()) // unlike Close it waits for handlers that sleep
		<-served
	})
	return v
}

// Accept, Close and Addr make v a net.Listener.
func (v *vault) Accept() (net.Conn, error) {
	select {
	case connection := <-v.connected:
		return connection, nil
	case <-v.closed:
		return nil, net.ErrClosed
	}
}

func (v *vault) Close() error {
	close(v.closed)
	return nil
}

func (v *vault) Addr() net.Addr { return &net.TCPAddr{} }

func (v *vault) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case v.connected <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (v *vault) set(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	v.mu.Lock()
	v.requests++
	if path == "auth/aws/login" {
		v.logins++
	}
	fault := v.fault
	v.mu.Unlock()
	if fault != nil && fault(path, w) { // not under mu: a fault may sleep
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	token := r.Header.Get("X-Vault-Token")
	switch path {
	case "auth/aws/login":
		v.login(w, r)
	case "auth/token/renew-self":
		v.renew(w, token)
	case "auth/token/lookup-self":
		v.lookups++
		if v.live(w, token) {
			io.WriteString(w, `{"data":{"id":"not read"}}`)
		}
	case "auth/token/create":
		v.create(w, token)
	case "sys/health":
		io.WriteString(w, v.health)
	case "auth/token/revoke-self":
		v.revoked++
		if v.batch {
			refuse(w, http.StatusBadRequest, "batch tokens cannot be revoked")
			return
		}
		if g := v.tokens[token]; g != nil {
			g.revoked = true
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusNotFound, "no handler for "+path)
	}
}

func (v *vault) login(w http.ResponseWriter, r *http.Request) {
	var body map[string]string
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !strings.HasPrefix(body["role"], "docker-host") || body["iam_request_body"] != loginBody {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("entry for role %q not found", body["role"]))
		return
	}
	token := fmt.Sprintf("hvs.token-%d", v.logins)
	v.granted++
	v.tokens[token] = &grant{born: time.Now(), end: time.Now().Add(v.ttl)}
	v.grant(w, token, v.ttl)
}

// create makes a child, with its parent's TTL.
func (v *vault) create(w http.ResponseWriter, parent string) {
	if v.created++; !v.live(w, parent) {
		return
	}
	token := fmt.Sprintf("hvs.child-%d", v.created)
	v.tokens[token] = &grant{born: time.Now(), end: time.Now().Add(v.ttl), parent: v.tokens[parent]}
	v.grant(w, token, v.ttl)
}

func (v *vault) renew(w http.ResponseWriter, token string) {
	v.renewals++
	if !v.live(w, token) {
		return
	}
	g, ttl := v.tokens[token], v.ttl
	if v.maxTTL > 0 {
		ttl = min(ttl, time.Until(g.born.Add(v.maxTTL)))
	}
	g.end = time.Now().Add(ttl)
	v.grant(w, token, ttl)
}

func (v *vault) live(w http.ResponseWriter, token string) bool {
	if !v.alive(v.tokens[token]) {
		refuse(w, http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
		return false
	}
	return true
}

func (v *vault) grant(w http.ResponseWriter, token string, ttl time.Duration) {
	accessor := "accessor-of-" + token
	if v.batch {
		accessor = ""
	}
	json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{
		"client_token": token, "accessor": accessor, "policies": []string{"default", "shop"},
		"lease_duration": int(ttl.Seconds()), "renewable": !v.fixed && !v.batch && ttl > 0,
		"metadata": map[string]string{"client_arn": "arn:aws:sts::111122223333:assumed-role/docker-host/i-0abc"},
	}})
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []string{message}})
}

// answering makes every request fail with status.
func answering(status int, message string) func(string, http.ResponseWriter) bool {
	return func(_ string, w http.ResponseWriter) bool {
		refuse(w, status, message)
		return true
	}
}

// count reads one of the counters.
func (v *vault) count(counter *int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return *counter
}

// lastEnd is when the last of the tokens ends.
func (v *vault) lastEnd() (end time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, g := range v.tokens {
		if g.end.After(end) {
			end = g.end
		}
	}
	return end
}

// revokeAll ends every token, as an operator would.
func (v *vault) revokeAll() {
	v.set(func() {
		for _, g := range v.tokens {
			g.revoked = true
		}
		clear(v.tokens)
	})
}

// lives reports whether a token is good.
func (v *vault) lives(token auth.Token) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.alive(v.tokens[string(token.Value.Reveal())]) // a test compares it with what its own server granted
}

// host is an attestor; err makes it fail.
type host struct {
	mu  sync.Mutex
	err error
}

func (h *host) Attest(_ context.Context, audience string) (auth.Evidence, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return auth.Evidence{}, h.err
	}
	return auth.Evidence{
		Method: "aws", Principal: "role/docker-host on i-0abc",
		Login: map[string]secret.Value{"iam_request_body": secret.NewValue([]byte(loginBody))},
	}, nil
}

// start makes a source for v, lets change alter its options, and runs it until
// the test ends.
func start(t *testing.T, v *vault, change ...func(*vaultlogin.Options)) (*vaultlogin.Source, *logText) {
	t.Helper()
	source, log, _ := startStoppable(t, v, change...)
	return source, log
}

// startStoppable also returns what ends Run and waits for it.
func startStoppable(t *testing.T, v *vault, change ...func(*vaultlogin.Options)) (source *vaultlogin.Source, log *logText, stop func()) {
	t.Helper()
	log = &logText{}
	client, err := vaultclient.New(vaultclient.Config{Address: address, Dial: v.dial})
	if err != nil {
		t.Fatal(err)
	}
	options := vaultlogin.Options{
		Client: client, Attestor: &host{}, Role: "docker-host", Audience: "vault.internal",
		Logger: log.logger(), Jitter: func() float64 { return 0.5 },
	}
	for _, f := range change {
		f(&options)
	}
	if source, err = vaultlogin.New(options); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		client.CloseIdleConnections()
		noSecrets(t, log.String())
	})
	t.Cleanup(stop)
	return source, log, stop
}

// within is a token that must be had before d is over.
func within(t *testing.T, source *vaultlogin.Source, d time.Duration) auth.Token {
	t.Helper()
	token, err := tryWithin(source, d)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func tryWithin(source *vaultlogin.Source, d time.Duration) (auth.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return source.Token(ctx)
}
