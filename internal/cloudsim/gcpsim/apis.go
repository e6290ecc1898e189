package gcpsim

import (
	"encoding/json"
	"net/http"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// ComputePath is where Compute Engine's API begins, below the URL of the APIs.
const ComputePath = "/compute/v1/"

const maxBody = 64 << 10 // bytes of a request; claims to sign have 200

// APIs are www.googleapis.com, iam, iamcredentials and compute.googleapis.com
// in one; their paths do not collide.
type APIs struct {
	cloudsim.Faults   // by URL path
	cloudsim.Requests // the operation is the HTTP method, the path is the URL's

	cloud *Cloud
	mux   *http.ServeMux
}

// answer is what an API says to a request, in JSON. It runs under the cloud's
// lock.
type answer func(r *http.Request) (any, error)

// NewAPIs returns the APIs of a cloud.
func NewAPIs(cloud *Cloud) *APIs {
	a := &APIs{cloud: cloud, mux: http.NewServeMux()}
	const zone = ComputePath + "projects/{project}/zones/{zone}/"
	for pattern, open := range map[string]answer{
		"GET /oauth2/v1/certs":                                 a.certificates,
		"GET /oauth2/v3/certs":                                 a.keySet,
		"GET /service_accounts/v1/metadata/x509/{email}":       a.accountCertificates,
		"POST /v1/projects/{project}/serviceAccounts/{action}": a.ofAccount, // asks who calls itself
	} {
		a.mux.Handle(pattern, cloud.serve(open))
	}
	for pattern, guarded := range map[string]answer{
		"GET /v1/projects/{project}/serviceAccounts/{account}":                a.serviceAccount,
		"GET " + zone + "instances/{name}":                                    a.getInstance,
		"GET " + ComputePath + "projects/{project}/aggregated/instanceGroups": a.instanceGroups,
		"POST " + zone + "instanceGroups/{group}/listInstances":               a.groupMembers,
	} {
		a.mux.Handle(pattern, cloud.serve(a.authorized(guarded)))
	}
	return a
}

// ServeHTTP implements http.Handler.
func (a *APIs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.Record(r.Method, r.URL.Path)
	if a.Strike(w, r, r.URL.Path) {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	a.mux.ServeHTTP(w, r)
}

// serve answers by what an API says.
func (c *Cloud) serve(respond answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		body, err := respond(r)
		if err != nil {
			refuse(w, err)
			return
		}
		json.NewEncoder(w).Encode(body) // a client that went away needs no answer
	})
}

func (a *APIs) authorized(respond answer) answer {
	return func(r *http.Request) (any, error) {
		if _, err := a.cloud.caller(r); err != nil {
			return nil, err
		}
		return respond(r)
	}
}

// certificates are those of the keys that Google signs identity tokens with.
func (a *APIs) certificates(*http.Request) (any, error) { return certificates(a.cloud.keys...) }

// keySet has the same keys as RFC 7517 writes them.
func (a *APIs) keySet(*http.Request) (any, error) {
	var keys []jwk
	for _, key := range a.cloud.keys {
		public, err := key.jwk()
		if err != nil {
			return nil, err
		}
		keys = append(keys, public)
	}
	return map[string]any{"keys": keys}, nil
}

func (a *APIs) accountCertificates(r *http.Request) (any, error) {
	found, exists := a.cloud.lookUp(r.PathValue("email"))
	if !exists {
		return nil, notFound("Service account not found")
	}
	return certificates(found.key)
}
