package vaultsim

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// mount is one key-value secrets engine.
type mount struct {
	path    string // with its trailing slash
	id      string
	version int
	secrets map[string]*history
}

// history is a secret with all its versions; a mount of version 1 keeps one.
type history struct{ versions []version }

type version struct {
	fields           map[string]any
	created, deleted time.Time // deleted is zero while it is not
}

func (m *mount) put(name string, fields map[string]any, now time.Time) int {
	secret := m.secrets[name]
	if secret == nil || m.version == 1 {
		secret = &history{}
		m.secrets[name] = secret
	}
	secret.versions = append(secret.versions, version{fields: maps.Clone(fields), created: now})
	if m.version == 1 {
		return 0
	}
	return len(secret.versions)
}

// mountOf finds the mount that path lies in.
func (v *Vault) mountOf(path string) *mount {
	for mountPath, m := range v.mounts {
		if strings.HasPrefix(path, mountPath) {
			return m
		}
	}
	return nil
}

// describeMount answers which mount a path lies in. Whoever may do nothing
// there is not told whether there is one.
func (v *Vault) describeMount(t *token, path string) (*answer, error) {
	path = strings.Trim(path, "/") + "/"
	m := v.mountOf(path)
	if m == nil || !v.allowedBelow(t.policies, m.path) {
		return nil, &refusal{http.StatusForbidden,
			fmt.Sprintf("preflight capability check returned 403, please ensure client's policies grant access to path %q", path)}
	}
	ttl := int(systemTTL.Seconds())
	return &answer{Data: map[string]any{
		"path": m.path, "type": "kv", "options": map[string]string{"version": strconv.Itoa(m.version)},
		"accessor": "kv_" + m.id[:8], "uuid": m.id, "description": "", "deprecation_status": "supported",
		"config":                  map[string]any{"default_lease_ttl": ttl, "max_lease_ttl": ttl, "force_no_cache": false},
		"external_entropy_access": false, "local": false, "seal_wrap": false,
		"plugin_version": "", "running_plugin_version": "v0.25.0+builtin", "running_sha256": "",
	}}, nil
}

func (m *mount) answer(q question, now time.Time) (*answer, error) {
	below := strings.TrimPrefix(q.path, m.path)
	if m.version == 1 {
		return m.answerV1(q, below, now)
	}
	return m.answerV2(q, below, now)
}
