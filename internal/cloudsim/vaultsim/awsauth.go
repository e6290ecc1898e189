package vaultsim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AWSAuth is an auth mount of method aws.
type AWSAuth struct {
	Mount    string   // "aws", for example
	STS      string   // URL of the STS to ask, whatever URL the client signed for
	ServerID string   // what X-Vault-AWS-IAM-Server-ID must say; empty: not asked for
	Metadata []string // of tokens, as iam_metadata of config/identity; nil: account_id and auth_type
}

// IAMRole lets an AWS principal log in and says what its token may do.
type IAMRole struct {
	Mount, Name         string
	Principal           string // arn:aws:iam::ACCOUNT:role/NAME, or with * as its last character
	Policies            []string
	TTL, MaxTTL, Period time.Duration // zero leaves each to Vault's default
}

// awsAuth is an auth mount with its roles.
type awsAuth struct {
	AWSAuth
	roles   map[string]IAMRole
	roleIDs map[string]string // by name; a role that is replaced keeps its ID
}

// login is what a token remembers of how it came about.
type login struct {
	auth         *awsAuth
	role         IAMRole // as it was at login or at the last renewal
	canonicalARN string
}

// EnableAWS enables and configures an auth mount, without roles.
func (v *Vault) EnableAWS(config AWSAuth) {
	if config.Metadata == nil {
		config.Metadata = []string{"account_id", "auth_type"}
	}
	config.Mount = strings.Trim(config.Mount, "/")
	v.mu.Lock()
	defer v.mu.Unlock()
	v.logins["auth/"+config.Mount+"/login"] = &awsAuth{AWSAuth: config, roles: map[string]IAMRole{}, roleIDs: map[string]string{}}
}

// PutRole creates or replaces a role.
func (v *Vault) PutRole(role IAMRole) error {
	if role.MaxTTL > 0 && role.TTL > role.MaxTTL {
		return fmt.Errorf("writing role %s: TTL %v is greater than MaxTTL %v", role.Name, role.TTL, role.MaxTTL)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	auth := v.logins["auth/"+strings.Trim(role.Mount, "/")+"/login"]
	if auth == nil {
		return fmt.Errorf("writing role %s: no auth method is enabled at %s", role.Name, role.Mount)
	}
	auth.roles[role.Name] = role
	if auth.roleIDs[role.Name] == "" {
		auth.roleIDs[role.Name] = v.env.UUID()
	}
	return nil
}

// RemoveRole deletes a role. Its tokens live on, but are not renewed.
func (v *Vault) RemoveRole(mountPath, name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if auth := v.logins["auth/"+strings.Trim(mountPath, "/")+"/login"]; auth != nil {
		delete(auth.roles, name)
		delete(auth.roleIDs, name)
	}
}

func (r IAMRole) terms() terms { return terms{ttl: r.TTL, maxTTL: r.MaxTTL, period: r.Period} }

// binds reports whether the role is for a principal, given by its canonical ARN.
func (r IAMRole) binds(canonicalARN string) bool {
	prefix, open := strings.CutSuffix(r.Principal, "*")
	return canonicalARN == r.Principal || (open && strings.HasPrefix(canonicalARN, prefix))
}

// stillBound is the role as it is now, unless a login would be refused.
func (l *login) stillBound() (IAMRole, error) {
	role, found := l.auth.roles[l.role.Name]
	if !found {
		return IAMRole{}, errors.New("role entry not found")
	}
	if !role.binds(l.canonicalARN) {
		return IAMRole{}, fmt.Errorf("role %q no longer bound to ARN %q", role.Name, l.canonicalARN)
	}
	return role, nil
}

// metadata is what a token says of its login: its role, and of all there is
// what the mount was told to say.
func (a *awsAuth) metadata(role string, all map[string]string) map[string]string {
	chosen := map[string]string{"role_id": a.roleIDs[role]}
	for name, value := range all {
		if slices.Contains(a.Metadata, name) {
			chosen[name] = value
		}
	}
	return chosen
}
