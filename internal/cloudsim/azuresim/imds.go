package azuresim

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// The paths of the metadata service.
const (
	TokenPath    = "/metadata/identity/oauth2/token"
	InstancePath = "/metadata/instance"
)

// Faults of the metadata service, for IMDS.Set, as "Azure Instance Metadata
// Service" and "How to use managed identities on a VM" describe them.
var (
	Throttled = cloudsim.Fault{Status: http.StatusTooManyRequests,
		Body: `{"error":"too_many_requests","error_description":"Temporarily throttled, too many requests"}`}
	Updating = cloudsim.Fault{Status: http.StatusGone,
		Body: `{"error":"gone","error_description":"The endpoint is being updated."}`}
	// Foreign is a proxy that has the address, as one of Docker Desktop does.
	Foreign = cloudsim.Fault{Status: http.StatusForbidden, Body: "connecting to 169.254.169.254:80: connect: network is unreachable"}
)

// IMDS is the instance metadata service of one machine. It may be used by
// several goroutines, and every switch changed while it serves.
type IMDS struct {
	cloudsim.Faults   // by URL path
	cloudsim.Requests // the operation is the HTTP method, the path is the URL's

	tenant  *Tenant
	machine Machine
	vmID    string

	mu         sync.Mutex
	identities []Identity
	audience   string
	skew       time.Duration
	undated    bool
	lifetime   time.Duration
}

// Identities are those that the machine has; the system-assigned one comes first.
func (m *IMDS) Identities() []Identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Identity(nil), m.identities...)
}

// SetIdentities changes which identities the service hands out tokens for.
// Resource Manager is not told, as if it lagged behind.
func (m *IMDS) SetIdentities(identities ...Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identities = identities
}

// SetAudience makes tokens be for another audience than was asked for. Empty:
// as asked.
func (m *IMDS) SetAudience(audience string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.audience = audience
}

// SetSkew moves the service's clock, by which tokens are issued and which its
// Date header tells.
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

// SetTags changes the machine's tags.
func (m *IMDS) SetTags(tags map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machine.Tags = tags
}

// SetUserData changes the machine's user data, which may be done at any time.
// Empty: none.
func (m *IMDS) SetUserData(data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machine.UserData = data
}

// SetLifetime changes how long tokens are good for. A lifetime below zero
// makes tokens that have ended already.
func (m *IMDS) SetLifetime(lifetime time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lifetime = lifetime
}

// ServeHTTP implements http.Handler.
func (m *IMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.Record(r.Method, r.URL.Path)
	w.Header()["Date"] = m.date()
	if m.Strike(w, r, r.URL.Path) {
		return
	}
	w.Header().Set("Server", "IMDS/150.870.65.1854")
	query := r.URL.Query()
	switch {
	case r.URL.Path != TokenPath && r.URL.Path != InstancePath && !strings.HasPrefix(r.URL.Path, InstancePath+"/"):
		m.refuse(w, r, http.StatusNotFound, "not_found", "The requested resource was not found")
	case r.Method != http.MethodGet:
		m.refuse(w, r, http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed")
	case !strings.EqualFold(r.Header.Get("Metadata"), "true"):
		m.refuse(w, r, http.StatusBadRequest, "invalid_request", "Required metadata header not specified")
	case r.Header.Get("X-Forwarded-For") != "":
		m.refuse(w, r, http.StatusBadRequest, "invalid_request", "Request contains the X-Forwarded-For header, which is not allowed")
	case query.Get("api-version") == "":
		m.refuse(w, r, http.StatusBadRequest, "invalid_request", "Required query variable 'api-version' is missing")
	case r.URL.Path == TokenPath:
		m.serveToken(w, r, query)
	default:
		m.serveInstance(w, r, query)
	}
}

func (m *IMDS) date() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.undated {
		return nil // so net/http adds none either
	}
	return []string{m.tenant.cloud.env.Now().Add(m.skew).Format(http.TimeFormat)}
}

// refuse says no in the words of the path that was asked.
func (m *IMDS) refuse(w http.ResponseWriter, r *http.Request, status int, code, description string) {
	if r.URL.Path == TokenPath {
		answer(w, status, map[string]string{"error": code, "error_description": description})
		return
	}
	answer(w, status, map[string]string{"error": http.StatusText(status) + ". " + description})
}

func (m *IMDS) serveToken(w http.ResponseWriter, r *http.Request, query url.Values) {
	m.mu.Lock()
	defer m.mu.Unlock()
	resource := query.Get("resource")
	if resource == "" {
		m.refuse(w, r, http.StatusBadRequest, "invalid_request", "Required query variable 'resource' is missing")
		return
	}
	if !isResource(resource) {
		m.refuse(w, r, http.StatusBadRequest, "invalid_resource", fmt.Sprintf("AADSTS500011: The resource principal named %s was not found "+
			"in the tenant named %s.", resource, m.tenant.id))
		return
	}
	identity, problem := m.pick(query)
	if problem != "" {
		m.refuse(w, r, http.StatusBadRequest, "invalid_request", problem)
		return
	}
	m.hand(w, identity, resource)
}

// isResource stands for looking up an application by one of its URIs or by its
// client ID.
func isResource(name string) bool {
	u, err := url.Parse(name)
	return err == nil && (u.Scheme != "" || len(name) == len("00000000-0000-0000-0000-000000000000"))
}

// pick is the identity that a request means: the one it names, else the
// system-assigned one, else the only one.
func (m *IMDS) pick(query url.Values) (_ Identity, problem string) {
	clientID, principalID := query.Get("client_id"), query.Get("object_id")
	id := cmp.Or(query.Get("msi_res_id"), query.Get("mi_res_id"))
	if clientID+principalID+id != "" {
		for _, i := range m.identities {
			if i.ClientID == clientID || i.PrincipalID == principalID || strings.EqualFold(i.ResourceID, id) {
				return i, ""
			}
		}
		return Identity{}, "Identity not found"
	}
	switch {
	case len(m.identities) == 0:
		return Identity{}, "Identity not found"
	case m.identities[0].system || len(m.identities) == 1:
		return m.identities[0], ""
	}
	return Identity{}, "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"
}

// hand gives out a token.
func (m *IMDS) hand(w http.ResponseWriter, identity Identity, resource string) {
	now := m.tenant.cloud.env.Now().Add(m.skew)
	content := m.tenant.newClaims(cmp.Or(m.audience, resource), identity.ClientID, identity.PrincipalID, "2")
	content.IssuedAt, content.NotBefore, content.Expires = now.Unix(), now.Add(-5*time.Minute).Unix(), now.Add(m.lifetime).Unix()
	if m.lifetime < 0 {
		content.NotBefore = now.Add(m.lifetime - 24*time.Hour).Unix()
	}
	content.IdentityID = inToken(identity.ResourceID)
	if !identity.system {
		content.MachineID = inToken(m.machine.ownerID())
	}
	token, err := m.tenant.cloud.sign(content)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	seconds := strconv.Itoa(int(m.lifetime.Seconds()))
	answer(w, http.StatusOK, map[string]string{
		"access_token": token, "token_type": "Bearer", "client_id": identity.ClientID, "resource": resource,
		"expires_in": seconds, "ext_expires_in": seconds,
		"expires_on": strconv.FormatInt(content.Expires, 10), "not_before": strconv.FormatInt(content.NotBefore, 10),
	})
}

// inToken is a resource ID as tokens spell it.
func inToken(id string) string { return strings.Replace(id, "/resourceGroups/", "/resourcegroups/", 1) }
