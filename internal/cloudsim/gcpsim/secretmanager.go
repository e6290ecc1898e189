package gcpsim

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// SecretManager is secretmanager.googleapis.com, and its regional endpoints:
// asked by one of those names, it answers for the secrets that are kept there;
// asked by any other, for all. The operations are "access" and "get", the paths
// are the URL's.
type SecretManager struct {
	cloudsim.Faults   // by URL path
	cloudsim.Requests // the operation is "access" or "get", the path is the version's, as in /v1/projects/P/secrets/S/versions/latest

	cloud *Cloud
	mux   *http.ServeMux
}

// NewSecretManager returns the Secret Manager of a cloud. Secrets are named as
// resources: projects/P/secrets/S or projects/P/locations/L/secrets/S.
func NewSecretManager(cloud *Cloud) *SecretManager {
	m := &SecretManager{cloud: cloud, mux: http.NewServeMux()}
	m.mux.Handle("GET /v1/projects/{project}/secrets/{secret}/versions/{action}", cloud.serve(m.answer))
	m.mux.Handle("GET /v1/projects/{project}/locations/{location}/secrets/{secret}/versions/{action}", cloud.serve(m.answer))
	return m
}

// ServeHTTP implements http.Handler.
func (m *SecretManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, isAccess := strings.CutSuffix(r.URL.Path, ":access")
	operation := "get"
	if isAccess {
		operation = "access"
	}
	m.Record(operation, path)
	if !m.Strike(w, r, path) {
		m.mux.ServeHTTP(w, r)
	}
}

// answer checks what Google checks, in its order: who asks, whether the project
// uses the service, who may, and what is there.
func (m *SecretManager) answer(r *http.Request) (any, error) {
	caller, err := m.cloud.caller(r)
	if err != nil {
		return nil, err
	}
	id, isAccess := strings.CutSuffix(r.PathValue("action"), ":access")
	project, location := r.PathValue("project"), r.PathValue("location")
	if m.cloud.disabled[project] {
		return nil, &refusal{http.StatusForbidden, "PERMISSION_DENIED", "SERVICE_DISABLED",
			"Secret Manager API has not been used in project " + project + " before or it is disabled."}
	}
	name := "projects/" + project + "/secrets/" + r.PathValue("secret")
	if location != "" {
		name = "projects/" + project + "/locations/" + location + "/secrets/" + r.PathValue("secret")
	}
	permission := "secretmanager.versions.get"
	if isAccess {
		permission = "secretmanager.versions.access"
	}
	if !m.cloud.may(caller.email, permission, "projects/"+project, name) {
		return nil, mayNot(permission, "resource '"+name+"/versions/"+id+"'")
	}
	found, exists := m.cloud.secrets[name]
	if !exists || !keptAt(r.Host, location) {
		return nil, notFound("Secret [" + m.cloud.numbered(name) + "] not found or has no versions.")
	}
	return found.say(m.cloud.numbered(name), id, isAccess)
}

// keptAt reports whether the endpoint called host keeps the secrets of a
// location; an empty one is global.
func keptAt(host, location string) bool {
	switch {
	case host == "secretmanager.googleapis.com":
		return location == ""
	case strings.HasSuffix(host, ".rep.googleapis.com"):
		return host == "secretmanager."+location+".rep.googleapis.com"
	}
	return true
}

// say is the answer about one version.
func (s *stored) say(name, id string, isAccess bool) (any, error) {
	number := s.number(id)
	if number < 1 || number > len(s.versions) {
		return nil, notFound("Secret Version [" + name + "/versions/" + id + "] not found.")
	}
	version := s.versions[number-1]
	name += "/versions/" + strconv.Itoa(number)
	if !isAccess {
		return map[string]any{"name": name, "state": version.state, "createTime": version.created, "replicationStatus": map[string]any{"automatic": struct{}{}},
			"clientSpecifiedPayloadChecksum": false, "etag": `"1"`}, nil
	}
	if version.state != Enabled {
		return nil, &refusal{http.StatusBadRequest, "FAILED_PRECONDITION", "", fmt.Sprintf("Secret Version [%s] is in %s state.", name, version.state)}
	}
	sum := crc32.Checksum(version.payload, crc32.MakeTable(crc32.Castagnoli))
	if version.damaged {
		sum ^= 1
	}
	return map[string]any{"name": name, "payload": map[string]string{
		"data": base64.StdEncoding.EncodeToString(version.payload), "dataCrc32c": strconv.FormatUint(uint64(sum), 10),
	}}, nil
}
