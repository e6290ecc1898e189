package gcpsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// maxSigned is how far ahead the end of a JWT may lie that signJwt signs.
const maxSigned = 12 * time.Hour

// serviceAccount is iam.projects.serviceAccounts.get; any project may be
// written as "-".
func (a *APIs) serviceAccount(r *http.Request) (any, error) {
	found, exists := a.cloud.lookUp(r.PathValue("account"))
	if !exists || (r.PathValue("project") != "-" && r.PathValue("project") != found.project) {
		return nil, notFound("Unknown service account")
	}
	return map[string]string{
		"name":      fmt.Sprintf("projects/%s/serviceAccounts/%s", found.project, found.email),
		"projectId": found.project,
		"uniqueId":  found.id,
		"email":     found.email,
	}, nil
}

// ofAccount are the methods of iamcredentials.projects.serviceAccounts that
// make something in the name of a service account.
func (a *APIs) ofAccount(r *http.Request) (any, error) {
	target, method, _ := strings.Cut(r.PathValue("action"), ":")
	methods := map[string]func(*http.Request, access, string) (any, error){"signJwt": a.signJWT, "generateAccessToken": a.generateAccessToken}
	respond, known := methods[method]
	if !known || r.PathValue("project") != "-" {
		return nil, notFound("Requested entity was not found.")
	}
	caller, err := a.cloud.caller(r)
	if err != nil {
		return nil, err
	}
	return respond(r, caller, target)
}

// signJWT: a caller may sign in its own name only, and only when it was allowed
// to.
func (a *APIs) signJWT(r *http.Request, caller access, target string) (any, error) {
	found, exists := a.cloud.lookUp(target)
	if !exists || caller.email != found.email || !found.signs {
		return nil, mayNot("iam.serviceAccounts.signJwt", "resource")
	}
	var request struct{ Payload string }
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, invalid("Invalid JSON payload received.")
	}
	if err := a.signable(request.Payload); err != nil {
		return nil, err
	}
	signed, err := found.key.sign([]byte(request.Payload))
	return map[string]string{"keyId": found.key.id, "signedJwt": signed}, err
}

// signable checks what Google checks of claims before it signs them.
func (a *APIs) signable(payload string) error {
	var claims struct {
		Expires *int64 `json:"exp"`
	}
	if err := json.Unmarshal([]byte(payload), &claims); err != nil {
		return invalid("Failed to parse the payload as a JWT claims set.")
	}
	if claims.Expires == nil {
		return invalid("This stand-in wants an exp claim.")
	}
	now, end := a.cloud.env.Now(), time.Unix(*claims.Expires, 0)
	if end.Before(now) || end.After(now.Add(maxSigned)) {
		return invalid("The exp claim must not be in the past, nor more than 12 hours in the future.")
	}
	return nil
}

// generateAccessToken: a caller may act as those who allowed it to. Lifetimes
// and delegates are not known here.
func (a *APIs) generateAccessToken(r *http.Request, caller access, target string) (any, error) {
	found, exists := a.cloud.lookUp(target)
	if !exists || !found.lentTo[caller.email] {
		return nil, mayNot("iam.serviceAccounts.getAccessToken", "resource")
	}
	var request struct{ Scope []string }
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || len(request.Scope) == 0 {
		return nil, invalid("Scope required.")
	}
	token := a.cloud.newAccess(found.email, request.Scope)
	return map[string]string{"accessToken": token, "expireTime": a.cloud.tokens[token].expires.Format(time.RFC3339)}, nil
}
