package azuresim

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

const (
	keysPath     = "/common/discovery/keys"
	instancePath = "/common/discovery/instance"
	maxForm      = 64 << 10 // bytes; those we know have 300
)

// serveEntra answers what a verifier of tokens and Microsoft's own client for
// an application's login ask.
func (c *Cloud) serveEntra(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case keysPath:
		answer(w, http.StatusOK, c.keySet())
		return
	case instancePath:
		answer(w, http.StatusOK, c.instanceDiscovery(r.URL.Query().Get("authorization_endpoint")))
		return
	}
	id, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	tenant, found := c.tenant(id)
	switch {
	case !found:
		refuseLogin(w, http.StatusBadRequest, "invalid_tenant", "AADSTS90002: Tenant '"+id+"' not found.")
	case path == ".well-known/openid-configuration":
		answer(w, http.StatusOK, tenant.configuration(tenant.issuer(), "/oauth2"))
	case path == "v2.0/.well-known/openid-configuration":
		answer(w, http.StatusOK, tenant.configuration("https://"+c.place.entra+"/"+id+"/v2.0", "/oauth2/v2.0"))
	case path == "oauth2/v2.0/token" && r.Method == http.MethodPost:
		tenant.serveLogin(w, r)
	default:
		http.NotFound(w, r)
	}
}

// configuration is the discovery document of a tenant (OpenID Connect
// Discovery 1.0). Both versions of the endpoint have the same keys.
func (t *Tenant) configuration(issuer, path string) any {
	entra := "https://" + t.cloud.place.entra
	base := entra + "/" + t.id + path
	return map[string]any{
		"issuer": issuer, "jwks_uri": entra + keysPath,
		"authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token",
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code", "id_token", "token"},
		"subject_types_supported":               []string{"pairwise"},
	}
}

// instanceDiscovery tells Microsoft's client that the host is a genuine one.
func (c *Cloud) instanceDiscovery(endpoint string) any {
	base, _, _ := strings.Cut(endpoint, "/oauth2/")
	return map[string]any{
		"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
		"metadata": []map[string]any{{
			"preferred_network": c.place.entra, "preferred_cache": "login.windows.net",
			"aliases": []string{c.place.entra, "login.windows.net", "login.microsoft.com", "sts.windows.net"},
		}},
	}
}

// serveLogin is the client credentials grant (RFC 6749, 4.4).
func (t *Tenant) serveLogin(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		refuseLogin(w, http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: This stand-in knows client_credentials only.")
		return
	}
	clientID := r.PostForm.Get("client_id")
	t.cloud.mu.Lock()
	known, found := t.applications[clientID]
	t.cloud.mu.Unlock()
	if !found {
		refuseLogin(w, http.StatusBadRequest, "unauthorized_client",
			"AADSTS700016: Application with identifier '"+clientID+"' was not found in the directory '"+t.id+"'.")
		return
	}
	if subtle.ConstantTimeCompare([]byte(known.secret), []byte(r.PostForm.Get("client_secret"))) == 0 {
		refuseLogin(w, http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
		return
	}
	t.grant(w, t.newClaims(audienceOf(r.PostForm.Get("scope")), clientID, known.objectID, "1"))
}

// audienceOf is the resource that a request's scopes are of.
func audienceOf(scopes string) string {
	for scope := range strings.FieldsSeq(scopes) {
		if audience, ok := strings.CutSuffix(scope, "/.default"); ok {
			return audience
		}
	}
	return scopes
}

func (t *Tenant) grant(w http.ResponseWriter, content claims) {
	const lifetime = time.Hour
	now := t.cloud.env.Now()
	content.IssuedAt, content.NotBefore, content.Expires = now.Unix(), now.Unix(), now.Add(lifetime).Unix()
	token, err := t.cloud.sign(content)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": int(lifetime.Seconds()), "ext_expires_in": int(lifetime.Seconds()), "access_token": token,
	})
}

// refuseLogin says no as RFC 6749, 5.2 has it.
func refuseLogin(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, map[string]any{"error": code, "error_description": description})
}
