package awssim

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// ErrNoEntity says that the account has no such role or user.
var ErrNoEntity = errors.New("no such entity")

// Account is one AWS account. It may be used by several goroutines.
type Account struct {
	id  string
	env *cloudsim.Environment

	mu    sync.Mutex
	roles map[string]entity
	users map[string]entity
	keys  map[string]issued // by access key ID
	hosts map[string]*IMDS  // the instances, by ID
}

// Keys sign requests. A stand-in guards nothing, so its secrets are plain text.
type Keys struct {
	AccessKeyID, SecretAccessKey string
	SessionToken                 string    // empty for a user's keys
	Issued, Expires              time.Time // Expires is zero for keys without an end
}

// entity is a role or a user.
type entity struct {
	name, path, id, arn string
	created             time.Time
}

// issued are keys and whom they stand for, in GetCallerIdentity's words.
type issued struct {
	Keys
	entity               entity
	account, arn, userID string
}

// NewAccount returns an account without roles and users. An ID has twelve digits.
func NewAccount(id string, env *cloudsim.Environment) *Account {
	return &Account{id: id, env: env, roles: map[string]entity{}, users: map[string]entity{}, keys: map[string]issued{}, hosts: map[string]*IMDS{}}
}

// AddRole creates a role, or replaces it by one with another unique ID. path
// is "/" or like "/teams/shop/"; ARNs of sessions leave it out.
func (a *Account) AddRole(path, name string) {
	role := a.newEntity("role", "AROA", path, name)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(a.roles, name)
	a.roles[name] = role
}

// AddUser creates a user, or replaces it by one with another unique ID.
func (a *Account) AddUser(path, name string) {
	user := a.newEntity("user", "AIDA", path, name)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(a.users, name)
	a.users[name] = user
}

// RemoveRole deletes a role and with it the keys of its sessions.
func (a *Account) RemoveRole(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(a.roles, name)
}

// AssumeRole issues keys for a session of a role. A lifetime below zero makes
// keys that have expired already.
func (a *Account) AssumeRole(name, session string, lifetime time.Duration) (Keys, error) {
	keys := a.newKeys("ASIA")
	keys.SessionToken = a.env.Text(cloudsim.Alphanum, 400) + "=="
	keys.Expires = keys.Issued.Add(lifetime)
	a.mu.Lock()
	defer a.mu.Unlock()
	role, found := a.roles[name]
	if !found {
		return Keys{}, fmt.Errorf("assuming role %s: %w", name, ErrNoEntity)
	}
	a.keys[keys.AccessKeyID] = issued{Keys: keys, entity: role, account: a.id, userID: role.id + ":" + session,
		arn: fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", a.id, name, session)}
	return keys, nil
}

// UserKeys issues keys without an end for a user.
func (a *Account) UserKeys(name string) (Keys, error) {
	keys := a.newKeys("AKIA")
	return keys, a.AddUserKeys(name, keys)
}

// AddUserKeys makes given keys valid for a user.
func (a *Account) AddUserKeys(name string, keys Keys) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	user, found := a.users[name]
	if !found {
		return fmt.Errorf("adding keys for user %s: %w", name, ErrNoEntity)
	}
	a.keys[keys.AccessKeyID] = issued{Keys: keys, entity: user, account: a.id, userID: user.id, arn: user.arn}
	return nil
}

func (a *Account) newEntity(kind, idPrefix, path, name string) entity {
	return entity{
		name: name, path: path, id: idPrefix + a.env.Text(cloudsim.Base32, 17),
		arn:     fmt.Sprintf("arn:aws:iam::%s:%s%s%s", a.id, kind, path, name),
		created: a.env.Now(),
	}
}

func (a *Account) newKeys(idPrefix string) Keys {
	return Keys{
		AccessKeyID:     idPrefix + a.env.Text(cloudsim.Base32, 16),
		SecretAccessKey: a.env.Text(cloudsim.Alphanum+"+/", 40),
		Issued:          a.env.Now().Truncate(time.Second),
	}
}

// remove deletes an entity and its keys, under the lock.
func (a *Account) remove(from map[string]entity, name string) {
	for id, keys := range a.keys {
		if keys.entity == from[name] {
			delete(a.keys, id)
		}
	}
	delete(from, name)
}

func (a *Account) role(name string) (entity, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	role, found := a.roles[name]
	return role, found
}

func (a *Account) user(name string) (entity, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	user, found := a.users[name]
	return user, found
}

// profileARN names the instance profile of a role.
func (a *Account) profileARN(role string) string {
	return fmt.Sprintf("arn:aws:iam::%s:instance-profile/%s", a.id, role)
}

func (a *Account) host(instanceID string) (*IMDS, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	host, found := a.hosts[instanceID]
	return host, found
}

func (a *Account) addHost(host *IMDS) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hosts[host.instance.ID] = host
}

// holder finds the keys that a request names, which must be alive and come
// with their own session token.
func (a *Account) holder(accessKeyID, sessionToken string) (issued, error) {
	a.mu.Lock()
	keys, found := a.keys[accessKeyID]
	a.mu.Unlock()
	if !found || subtle.ConstantTimeCompare([]byte(keys.SessionToken), []byte(sessionToken)) == 0 {
		return issued{}, errInvalidToken
	}
	if !keys.Expires.IsZero() && !a.env.Now().Before(keys.Expires) {
		return issued{}, errExpiredToken
	}
	return keys, nil
}
