package gcpsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

const (
	flavorHeader = "Metadata-Flavor"
	flavor       = "Google"
	root         = "/computeMetadata/v1/"
)

// Faults of the metadata server, for Metadata.Set.
var (
	Throttled = cloudsim.Fault{Status: http.StatusTooManyRequests, Header: http.Header{flavorHeader: {flavor}}}
	Failing   = cloudsim.Fault{Status: http.StatusServiceUnavailable, Header: http.Header{flavorHeader: {flavor}}}
	Absent    = cloudsim.Fault{Status: http.StatusNotFound} // something else has the address
)

// Metadata is the metadata server of one instance. It may be used by several
// goroutines, and every switch changed while it serves.
type Metadata struct {
	cloudsim.Faults   // by URL path
	cloudsim.Requests // the operation is the HTTP method, the path is the URL's

	cloud    *Cloud
	instance *instance // under the cloud's lock, as all below
	skew     time.Duration
	undated  bool
	lifetime time.Duration // of identity tokens
	audience string        // of identity tokens; empty: as asked
}

// SetServiceAccount changes the instance's service account; empty: none.
func (m *Metadata) SetServiceAccount(email string) {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	m.instance.ServiceAccount = email
}

// SetAttribute changes one of the instance's attributes; empty: it has none of
// that name.
func (m *Metadata) SetAttribute(name, value string) {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	if m.instance.Attributes == nil {
		m.instance.Attributes = map[string]string{}
	}
	m.instance.Attributes[name] = value
	if value == "" {
		delete(m.instance.Attributes, name)
	}
}

// SetStatus changes what Compute Engine says of the instance, such as "RUNNING"
// or "TERMINATED". The metadata server answers whatever the status is.
func (m *Metadata) SetStatus(status string) {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	m.instance.status = status
}

// SetSkew moves the server's own clock, which its Date header tells and by which
// it makes identity tokens: minus two hours makes tokens that have ended, plus
// two hours tokens from the future.
func (m *Metadata) SetSkew(by time.Duration) {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	m.skew = by
}

// SetUndated makes the server answer without a Date header, as imitations do.
func (m *Metadata) SetUndated(undated bool) {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	m.undated = undated
}

// SetLifetime changes how long identity tokens are good for. A lifetime below
// zero makes tokens that have ended already.
func (m *Metadata) SetLifetime(lifetime time.Duration) {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	m.lifetime = lifetime
}

// SetAudience makes identity tokens name this audience, whatever was asked.
func (m *Metadata) SetAudience(audience string) {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	m.audience = audience
}

// ServeHTTP implements http.Handler.
func (m *Metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.Record(r.Method, r.URL.Path)
	w.Header()["Date"] = m.date()
	if m.Strike(w, r, r.URL.Path) {
		return
	}
	w.Header().Set(flavorHeader, flavor)
	w.Header().Set("Server", "Metadata Server for VM")
	w.Header().Set("Content-Type", "application/text")
	content, err := m.answer(w.Header(), r)
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	io.WriteString(w, content) // a client that went away needs no answer
}

func (m *Metadata) date() []string {
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	if m.undated {
		return nil // so net/http adds none either
	}
	return []string{m.cloud.env.Now().Add(m.skew).Format(http.TimeFormat)}
}

// answer checks who asks first. A request that a proxy passed on comes from
// nobody on this machine.
func (m *Metadata) answer(header http.Header, r *http.Request) (string, error) {
	if r.Header.Get("X-Forwarded-For") != "" {
		return "", &refusal{http.StatusForbidden, "", "", "Request contains X-Forwarded-For header."}
	}
	if r.URL.Path == "/" {
		return "computeMetadata/\n", nil // the one page that takes no header
	}
	if r.Header.Get(flavorHeader) != flavor {
		return "", &refusal{http.StatusForbidden, "", "", "Missing Metadata-Flavor:Google header."}
	}
	if r.Method != http.MethodGet {
		return "", &refusal{http.StatusMethodNotAllowed, "", "", "Method not allowed."}
	}
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	if path, ok := strings.CutPrefix(r.URL.Path, root+"instance/service-accounts/"); ok {
		return m.ofAccount(header, path, r)
	}
	return m.entry(header, r)
}

// ofAccount answers for the instance's service account, which is called default
// and by its email.
func (m *Metadata) ofAccount(header http.Header, path string, r *http.Request) (string, error) {
	email := m.instance.ServiceAccount
	if path == "" && email != "" {
		return "default/\n" + email + "/\n", nil
	}
	name, what, _ := strings.Cut(path, "/")
	if email == "" || (name != "default" && name != email) {
		return "", errNoMetadata
	}
	switch what {
	case "email":
		return email, nil
	case "scopes":
		return strings.Join(m.instance.Scopes, "\n"), nil
	case "token":
		header.Set("Content-Type", "application/json")
		return fmt.Sprintf(`{"access_token":%q,"expires_in":%d,"token_type":"Bearer"}`,
			m.cloud.newAccess(email, m.instance.Scopes), int(tokenLife.Seconds())-1), nil
	case "identity":
		return m.identity(r.URL.Query().Get("audience"), r.URL.Query().Get("format"))
	}
	return "", errNoMetadata
}

// identity is a token that says who the instance is, to audience.
func (m *Metadata) identity(audience, format string) (string, error) {
	found, exists := m.cloud.accounts[m.instance.ServiceAccount]
	switch {
	case audience == "":
		return "", &refusal{http.StatusBadRequest, "", "", "non-empty audience parameter required"}
	case !exists:
		return "", errNoMetadata
	}
	if m.audience != "" {
		audience = m.audience
	}
	now := m.cloud.env.Now().Add(m.skew)
	token := claims{Audience: audience, Party: found.id, Subject: found.id, Issuer: "https://accounts.google.com",
		IssuedAt: now.Unix(), Expires: now.Add(m.lifetime).Unix()}
	if format == "full" {
		token.Email, token.Verified = found.email, true
		token.Google = &google{computeEngine{Created: m.instance.Created.Unix(), ID: m.instance.id, Name: m.instance.Name,
			ProjectID: m.instance.Project, ProjectNumber: json.Number(m.cloud.numbers[m.instance.Project]), Zone: m.instance.Zone}}
	}
	text, err := json.Marshal(token)
	if err != nil {
		return "", fmt.Errorf("writing the claims: %w", err)
	}
	return m.cloud.keys[len(m.cloud.keys)-1].sign(text)
}
