package vaultsim

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
)

// login answers a login by AWS identity. STS is asked without the lock, so
// that a slow STS holds up nobody else.
func (v *Vault) login(ctx context.Context, auth *awsAuth, q question) (*answer, error) {
	if q.operation != "update" {
		return nil, &refusal{http.StatusMethodNotAllowed, "unsupported operation"}
	}
	request, err := newIAMRequest(q.body, auth.ServerID)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	found, err := request.send(ctx, auth.STS)
	if err != nil {
		return nil, badRequest("error making upstream request: " + err.Error())
	}
	who, err := parsePrincipal(found.ARN)
	if err != nil {
		return nil, badRequest(fmt.Sprintf("error parsing arn %q: %v", found.ARN, err))
	}
	name, _ := q.body["role"].(string)
	name = cmp.Or(name, who.name)
	v.mu.Lock()
	defer v.mu.Unlock()
	role, known := auth.roles[name]
	if !known {
		return nil, badRequest(fmt.Sprintf("entry for role %s not found", name))
	}
	if !role.binds(who.canonicalARN) {
		return nil, badRequest(fmt.Sprintf("IAM Principal %q does not belong to the role %q", found.ARN, name))
	}
	return v.admit(auth, role, found, who), nil
}

// admit issues the token of a successful login.
func (v *Vault) admit(auth *awsAuth, role IAMRole, found caller, who principal) *answer {
	userID, _, _ := strings.Cut(found.UserID, ":")
	displayName := auth.Mount + "-" + who.name
	if who.session != "" {
		displayName += "/" + who.session
	}
	t := v.newToken("auth/"+auth.Mount+"/login", displayName, role.Policies)
	t.login = &login{auth: auth, role: role, canonicalARN: who.canonicalARN}
	t.metadata = auth.metadata(role.Name, map[string]string{
		"account_id": found.Account, "auth_type": "iam", "canonical_arn": who.canonicalARN,
		"client_arn": found.ARN, "client_user_id": userID,
	})
	if v.entities[userID] == "" {
		v.entities[userID] = v.env.UUID()
	}
	t.entityID = v.entities[userID]
	warnings := t.live(0, role.terms(), t.created)
	t.creationTTL = t.expires.Sub(t.created)
	return &answer{Auth: t.auth(t.created), Warnings: warnings}
}
