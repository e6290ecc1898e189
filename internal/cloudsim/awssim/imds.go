package awssim

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

const (
	tokenPath   = "/latest/api/token"
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTokenTTL = 21600 // seconds
)

// Faults of the metadata service, for IMDS.Set, with the status that "How
// Instance Metadata Service Version 2 works" in the EC2 User Guide gives them.
var (
	TurnedOff = cloudsim.Fault{Status: http.StatusForbidden}
	Absent    = cloudsim.Fault{Status: http.StatusNotFound} // something else has the address
	Throttled = cloudsim.Fault{Status: http.StatusServiceUnavailable}
	// TooFar is a hop limit below the caller's distance, for TokenPath: the
	// answer with the session token does not arrive.
	TooFar = cloudsim.Fault{Delay: 24 * time.Hour}
)

// TokenPath is where sessions begin.
const TokenPath = tokenPath

// Mode says which versions of the service an instance allows, as its metadata
// options do.
type Mode int

const (
	TokensRequired Mode = iota // version 2 only
	TokensOptional             // versions 1 and 2
	NoTokens                   // version 1 only, as old imitations of the service have it
)

// IMDS is EC2's metadata service for one instance. It may be used by several
// goroutines, and every switch changed while it serves.
type IMDS struct {
	cloudsim.Faults   // by URL path
	cloudsim.Requests // the operation is the HTTP method, the path is the URL's

	account *Account

	mu       sync.Mutex
	instance Instance
	launched time.Time // or started again after a stop
	state    string    // in EC2's words: "running"
	skew     time.Duration
	undated  bool
	nextRole string // replaces the instance's after its name was read
	mode     Mode
	tokens   map[string]time.Time // session tokens → when they end
	role     roleKeys
}

// NewIMDS returns the metadata service of an instance that runs in account,
// and makes the instance known there.
func NewIMDS(account *Account, instance Instance) *IMDS {
	m := &IMDS{
		account: account, launched: account.env.Now(), state: "running",
		instance: instance.complete(), tokens: map[string]time.Time{}, role: roleKeys{lifetime: 6 * time.Hour},
	}
	account.addHost(m)
	return m
}

// SetMode changes which versions of the service there are.
func (m *IMDS) SetMode(mode Mode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mode = mode
}

// ServeHTTP implements http.Handler.
func (m *IMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.Record(r.Method, r.URL.Path)
	if m.Strike(w, r, r.URL.Path) {
		return
	}
	w.Header().Set("Server", "EC2ws")
	w.Header()["Date"] = m.date()
	status, content := m.answer(w.Header(), r)
	w.Header().Set("Content-Type", "text/plain")
	if strings.HasSuffix(r.URL.Path, "/"+userData) {
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	if status != http.StatusOK {
		w.Header().Set("Content-Type", "text/html")
		content = fmt.Sprintf("<html><head><title>%d - %s</title></head></html>\n", status, http.StatusText(status))
	}
	w.WriteHeader(status)
	io.WriteString(w, content) // a client that went away needs no answer
}

// SetSkew makes the service's own clock, which its Date header tells, go before
// (or after) the cloud's.
func (m *IMDS) SetSkew(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skew = by
}

// SetUndated makes the service answer without a Date header, as imitations do.
func (m *IMDS) SetUndated(undated bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.undated = undated
}

func (m *IMDS) date() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.undated {
		return nil // so net/http adds none either
	}
	return []string{m.account.env.Now().Add(m.skew).Format(http.TimeFormat)}
}

func (m *IMDS) answer(header http.Header, r *http.Request) (status int, content string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.URL.Path == tokenPath && m.mode != NoTokens {
		return m.newToken(header, r)
	}
	return m.read(header, r)
}

// newToken starts a session. A request that a proxy passed on comes from
// nobody on this machine.
func (m *IMDS) newToken(header http.Header, r *http.Request) (status int, content string) {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.Method != http.MethodPut:
		header.Set("Allow", "OPTIONS, PUT")
		return http.StatusMethodNotAllowed, ""
	case r.Header.Get("X-Forwarded-For") != "":
		return http.StatusForbidden, ""
	case err != nil || ttl < 1 || ttl > maxTokenTTL:
		return http.StatusBadRequest, ""
	}
	token := m.account.env.Text(cloudsim.Alphanum+"-_", 54) + "=="
	m.tokens[token] = m.account.env.Now().Add(time.Duration(ttl) * time.Second)
	header.Set(ttlHeader, strconv.Itoa(ttl))
	return http.StatusOK, token
}

func (m *IMDS) read(header http.Header, r *http.Request) (status int, content string) {
	if r.Method == http.MethodPut && m.mode == NoTokens {
		return http.StatusNotFound, ""
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD, OPTIONS")
		return http.StatusMethodNotAllowed, ""
	}
	if !m.inSession(header, r.Header.Get(tokenHeader)) {
		return http.StatusUnauthorized, ""
	}
	content, found := m.lookUp(strings.TrimPrefix(r.URL.Path, "/"))
	if !found {
		return http.StatusNotFound, ""
	}
	return http.StatusOK, content
}

// inSession checks a session token and tells what is left of it.
func (m *IMDS) inSession(header http.Header, token string) bool {
	if m.mode == NoTokens || (m.mode == TokensOptional && token == "") {
		return true
	}
	left := m.tokens[token].Sub(m.account.env.Now())
	if left <= 0 {
		delete(m.tokens, token)
		return false
	}
	header.Set(ttlHeader, strconv.Itoa(int(left.Seconds())))
	return true
}
