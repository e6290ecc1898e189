package azuresim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// serveResources is Resource Manager, for reading.
func (c *Cloud) serveResources(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="https://login.windows.net/", error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
		return
	}
	manager, core := "https://"+c.place.resources, "https://"+c.place.core
	caller, err := c.verify(token, manager, manager+"/", core, core+"/") // Microsoft's clients differ in the slash
	tenant, found := c.tenant(caller.TenantID)
	switch {
	case err != nil || !found:
		refuse(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "This stand-in is for reading only.")
	case r.URL.Query().Get("api-version") == "":
		refuse(w, http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !tenant.isApplication(caller):
		refuse(w, http.StatusForbidden, "AuthorizationFailed", fmt.Sprintf("The client '%s' with object id '%s' does not have "+
			"authorization to perform action over scope '%s' or the scope is invalid.", caller.ClientID, caller.PrincipalID, r.URL.Path))
	default:
		tenant.serveResource(w, strings.TrimSuffix(r.URL.Path, "/"))
	}
}

// isApplication: managed identities have no access by themselves.
func (t *Tenant) isApplication(caller claims) bool {
	t.cloud.mu.Lock()
	defer t.cloud.mu.Unlock()
	_, found := t.applications[caller.ClientID]
	return found
}

func (t *Tenant) serveResource(w http.ResponseWriter, path string) {
	lower := strings.ToLower(path)
	t.cloud.mu.Lock()
	found, isResource := t.resources[lower]
	t.cloud.mu.Unlock()
	parts := strings.Split(lower, "/") // "", subscriptions, ID, resourcegroups, name, providers, namespace, type, name
	switch {
	case isResource:
		answer(w, http.StatusOK, found)
	case len(parts) == 5 && parts[3] == "providers":
		answer(w, http.StatusOK, provider(parts[4]))
	case strings.HasSuffix(lower, "/"+strings.ToLower(identityType)):
		answer(w, http.StatusOK, map[string]any{"value": t.below(lower)})
	default:
		t.notFound(w, path)
	}
}

// provider says in which versions a namespace's resources may be asked for.
func provider(namespace string) any {
	versions := []string{"2024-11-01-preview", "2024-07-01", "2022-11-01"}
	return map[string]any{"namespace": namespace, "resourceTypes": []map[string]any{
		{"resourceType": "virtualMachines", "apiVersions": versions},
		{"resourceType": "virtualMachineScaleSets", "apiVersions": versions},
		{"resourceType": "userAssignedIdentities", "apiVersions": versions},
	}}
}

// below are the resources directly below a path, by ID.
func (t *Tenant) below(path string) []resource {
	t.cloud.mu.Lock()
	defer t.cloud.mu.Unlock()
	found := []resource{}
	for id, r := range t.resources {
		if name, ok := strings.CutPrefix(id, path+"/"); ok && !strings.Contains(name, "/") {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b resource) int { return strings.Compare(a.ID, b.ID) })
	return found
}

// notFound says what of a path does not exist.
func (t *Tenant) notFound(w http.ResponseWriter, path string) {
	parts := strings.Split(path, "/")
	exists := func(n int) bool { return len(parts) > n && t.holds(strings.Join(parts[:n+1], "/")) }
	switch {
	case !exists(2):
		refuse(w, http.StatusNotFound, "SubscriptionNotFound", "The subscription could not be found.")
	case !exists(4):
		refuse(w, http.StatusNotFound, "ResourceGroupNotFound", "Resource group could not be found.")
	default:
		refuse(w, http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("The Resource '%s' under resource group '%s' was not found. "+
			"For more details please go to https://aka.ms/ARMResourceNotFoundFix", strings.Join(parts[min(6, len(parts)):], "/"), parts[4]))
	}
}

// holds reports whether there is a resource somewhere below a path.
func (t *Tenant) holds(path string) bool {
	t.cloud.mu.Lock()
	defer t.cloud.mu.Unlock()
	for id := range t.resources {
		if strings.HasPrefix(id, strings.ToLower(path)+"/") {
			return true
		}
	}
	return false
}

// refuse says no as Resource Manager does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Ms-Failure-Cause", "gateway")
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
