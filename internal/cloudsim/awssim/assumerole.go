package awssim

import (
	"cmp"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Trust says who may assume which role, as the roles' own trust policies do.
// It may be used by several goroutines.
type Trust struct {
	service *Service

	mu       sync.Mutex
	allows   []trusted
	lifetime time.Duration // of the keys; zero: as asked for
}

type trusted struct{ role, principal, externalID string }

// AddAssumeRole makes an STS answer AssumeRole for the roles of its account,
// which trust nobody yet.
func AddAssumeRole(service *Service) *Trust {
	t := &Trust{service: service}
	service.actions["AssumeRole"] = t.assumeRole
	return t
}

// Allow lets a principal, by its ARN, assume a role, by its name. An external
// ID that is not empty must come with the request.
func (t *Trust) Allow(role, principal, externalID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allows = append(t.allows, trusted{role, principal, externalID})
}

// SetLifetime makes keys live shorter than was asked for.
func (t *Trust) SetLifetime(lifetime time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lifetime = lifetime
}

type assumeRoleResult struct {
	XMLName     xml.Name `xml:"AssumeRoleResult"`
	Credentials struct {
		AccessKeyID                               string `xml:"AccessKeyId"`
		SecretAccessKey, SessionToken, Expiration string
	}
	AssumedRoleUser struct {
		AssumedRoleID string `xml:"AssumedRoleId"`
		Arn           string
	}
}

func (t *Trust) assumeRole(caller issued, form url.Values) (any, error) {
	arn, session := form.Get("RoleArn"), form.Get("RoleSessionName")
	seconds, err := strconv.Atoi(form.Get("DurationSeconds"))
	if err != nil || seconds < 900 || seconds > 43200 || len(session) < 2 {
		return nil, badRequest("ValidationError", "DurationSeconds is 900 to 43200, and RoleSessionName has at least 2 characters.")
	}
	name := arn[strings.LastIndex(arn, "/")+1:]
	role, found := t.service.account.role(name)
	if !found || role.arn != arn || !t.trusts(trusted{name, caller.entity.arn, form.Get("ExternalId")}) {
		return nil, &refusal{http.StatusForbidden, "AccessDenied", "User: " + caller.arn + " is not authorized to perform: sts:AssumeRole on resource: " + arn}
	}
	t.mu.Lock()
	lifetime := cmp.Or(t.lifetime, time.Duration(seconds)*time.Second)
	t.mu.Unlock()
	keys, err := t.service.account.AssumeRole(name, session, lifetime)
	if err != nil {
		return nil, badRequest("AccessDenied", "%s", err)
	}
	var result assumeRoleResult
	c := &result.Credentials
	c.AccessKeyID, c.SecretAccessKey, c.SessionToken = keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken
	c.Expiration = keys.Expires.Format(time.RFC3339)
	result.AssumedRoleUser.Arn = "arn:aws:sts::" + t.service.account.id + ":assumed-role/" + name + "/" + session
	result.AssumedRoleUser.AssumedRoleID = role.id + ":" + session
	return result, nil
}

func (t *Trust) trusts(asked trusted) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, allowed := range t.allows {
		if allowed.role == asked.role && allowed.principal == asked.principal &&
			(allowed.externalID == "" || allowed.externalID == asked.externalID) {
			return true
		}
	}
	return false
}
