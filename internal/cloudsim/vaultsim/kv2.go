package vaultsim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const notVersioned = "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. " +
	"If using the Vault CLI, use 'vault kv get' for this operation."

// answerV2 answers version 2 of the engine, where data/ holds the versions and
// metadata/ what is known of them.
func (m *mount) answerV2(q question, below string, now time.Time) (*answer, error) {
	kind, name, _ := strings.Cut(below, "/")
	switch q.operation + " " + kind {
	case "read data":
		return m.read(name, q.query.Get("version"))
	case "update data":
		return m.write(name, q.body, now)
	case "delete data":
		if secret := m.secrets[name]; secret != nil {
			secret.versions[len(secret.versions)-1].deleted = now
		}
		return nil, nil
	case "read metadata":
		return m.readMetadata(name)
	}
	if kind == "data" || kind == "metadata" {
		return nil, errUnsupported
	}
	return &answer{status: http.StatusNotFound, Warnings: []string{notVersioned}}, nil
}

// read answers 404 with the metadata for a version that was deleted, and 404
// with nothing for one that never was.
func (m *mount) read(name, asked string) (*answer, error) {
	secret := m.secrets[name]
	if secret == nil {
		return nil, notFound("")
	}
	number := len(secret.versions)
	if asked != "" {
		wanted, err := strconv.Atoi(asked)
		if err != nil {
			return nil, badRequest(fmt.Sprintf("Field validation failed: error converting input for field \"version\": "+
				"cannot parse '' as int: strconv.ParseInt: parsing %q: invalid syntax", asked))
		}
		if wanted > 0 {
			number = wanted
		}
	}
	if number > len(secret.versions) {
		return nil, notFound("")
	}
	found := secret.versions[number-1]
	metadata := found.metadata()
	metadata["version"] = number
	if !found.deleted.IsZero() {
		return &answer{status: http.StatusNotFound, Data: map[string]any{"data": nil, "metadata": metadata}}, nil
	}
	return &answer{Data: map[string]any{"data": found.fields, "metadata": metadata}, MountType: "kv"}, nil
}

func (m *mount) write(name string, body map[string]any, now time.Time) (*answer, error) {
	fields, given := body["data"].(map[string]any)
	if !given {
		return nil, badRequest("no data provided")
	}
	number := m.put(name, fields, now)
	metadata := m.secrets[name].versions[number-1].metadata()
	metadata["version"] = number
	return &answer{Data: metadata, MountType: "kv"}, nil
}

func (m *mount) readMetadata(name string) (*answer, error) {
	secret := m.secrets[name]
	if secret == nil {
		return nil, notFound("")
	}
	versions := map[string]any{}
	for i, each := range secret.versions {
		metadata := each.metadata()
		delete(metadata, "custom_metadata") // belongs to all versions
		versions[strconv.Itoa(i+1)] = metadata
	}
	last := secret.versions[len(secret.versions)-1]
	return &answer{MountType: "kv", Data: map[string]any{
		"current_version": len(secret.versions), "oldest_version": 0, "max_versions": 0, "versions": versions,
		"created_time": stamp(secret.versions[0].created), "updated_time": stamp(last.created),
		"cas_required": false, "custom_metadata": nil, "delete_version_after": "0s",
	}}, nil
}

func (v version) metadata() map[string]any {
	return map[string]any{"created_time": stamp(v.created), "deletion_time": stamp(v.deleted), "destroyed": false, "custom_metadata": nil}
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Format(time.RFC3339Nano)
}
