package vaultsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// ownToken finds what a token may always do with itself; nil: q is not that.
func (v *Vault) ownToken(q question) func(*token, question) (*answer, error) {
	switch q.operation + " " + q.path {
	case "read auth/token/lookup-self":
		return v.lookupSelf
	case "update auth/token/renew-self":
		return v.renewSelf
	case "update auth/token/revoke-self":
		return v.revokeSelf
	}
	return nil
}

func (v *Vault) lookupSelf(t *token, _ question) (*answer, error) {
	data := map[string]any{
		"id": t.id, "accessor": t.accessor, "path": t.path, "display_name": t.displayName, "entity_id": t.entityID,
		"policies": t.policies, "meta": t.metadata, "type": "service", "num_uses": 0, "orphan": t.login != nil || t.id == v.rootToken,
		"creation_time": t.created.Unix(), "creation_ttl": int(t.creationTTL.Seconds()), "explicit_max_ttl": 0,
		"ttl": t.left(v.env.Now()), "expire_time": nil,
	}
	if !t.expires.IsZero() {
		data["expire_time"], data["issue_time"], data["renewable"] = t.expires, t.created, t.login != nil
	}
	if !t.renewed.IsZero() {
		data["last_renewal"], data["last_renewal_time"] = t.renewed, t.renewed.Unix()
	}
	if t.login != nil && t.login.role.Period > 0 {
		data["period"] = int(t.login.role.Period.Seconds())
	}
	return &answer{Data: data, MountType: "token"}, nil
}

// renewSelf gives the token what its role gives now, which may be less than
// when it logged in, or nothing.
func (v *Vault) renewSelf(t *token, q question) (*answer, error) {
	if t.expires.IsZero() {
		return nil, badRequest("invalid lease ID")
	}
	if t.login == nil {
		return nil, badRequest("lease is not renewable")
	}
	increment, err := seconds(q.body["increment"])
	if err != nil {
		return nil, badRequest("Field validation failed: error converting input for field \"increment\": " + err.Error())
	}
	role, err := t.login.stillBound()
	if err != nil {
		return nil, &refusal{http.StatusInternalServerError, "1 error occurred:\n\t* " + err.Error() + "\n\n"}
	}
	now := v.env.Now()
	t.login.role, t.renewed = role, now
	warnings := t.live(increment, role.terms(), now)
	return &answer{Auth: t.auth(now), Warnings: warnings, MountType: "token"}, nil
}

func (v *Vault) revokeSelf(t *token, _ question) (*answer, error) {
	delete(v.tokens, t.id)
	return nil, nil
}

// seconds reads a duration as Vault takes it: 30, "30" or "30s".
func seconds(raw any) (time.Duration, error) {
	switch value := raw.(type) {
	case nil:
		return 0, nil
	case float64:
		return time.Duration(value) * time.Second, nil
	case string:
		var whole json.Number
		if err := json.Unmarshal([]byte(value), &whole); err == nil {
			return time.ParseDuration(whole.String() + "s")
		}
		return time.ParseDuration(value)
	}
	return 0, fmt.Errorf("%v is not a duration", raw)
}
