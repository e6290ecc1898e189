package awssim

import (
	"fmt"
	"time"
)

// roleKeys are the keys that an instance's or a task's metadata hands out.
type roleKeys struct {
	lifetime time.Duration // of newly issued ones
	keys     Keys
	expired  bool // hand out keys that have ended, and never new ones
}

// SetRole attaches an instance profile with another role, or none when role is
// empty. A role that the account does not have is one that EC2 cannot assume.
func (m *IMDS) SetRole(role string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.instance.Role, m.role.keys = role, Keys{}
}

// SetLifetime says how long keys issued from now on live. EC2's live 6 hours.
func (m *IMDS) SetLifetime(lifetime time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.role.lifetime = lifetime
}

// SetExpired makes the service hand out keys that have ended, or stop doing so.
func (m *IMDS) SetExpired(expired bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.role.expired, m.role.keys = expired, Keys{}
}

// Rotate makes the service hand out new keys. The old ones are good until they
// expire.
func (m *IMDS) Rotate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.role.keys = Keys{}
}

// ReplaceRole attaches an instance profile with another role as soon as the
// name of the present one has been read: in the middle of whatever its reader
// is about to do.
func (m *IMDS) ReplaceRole(role string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextRole = role
}

// roleName is what security-credentials/ lists.
func (m *IMDS) roleName() string {
	listed := m.instance.Role
	if m.nextRole != "" {
		m.instance.Role, m.nextRole, m.role.keys = m.nextRole, "", Keys{}
	}
	return listed
}

// roleDocument is what security-credentials/ROLE answers. EC2 answers 200 even
// when it cannot assume the role, with a Code that says so.
func (m *IMDS) roleDocument() string {
	if err := m.role.renew(m.account, m.instance.Role, m.instance.ID); err != nil {
		return indented(struct{ Code, Message, LastUpdated string }{
			"AssumeRoleUnauthorizedAccess",
			fmt.Sprintf("EC2 cannot assume the role %s. Please see documentation at "+
				"https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html.", m.instance.Role),
			m.account.env.Now().Format(time.RFC3339),
		})
	}
	k := m.role.keys
	return indented(struct {
		Code, LastUpdated, Type            string
		AccessKeyID                        string `json:"AccessKeyId"`
		SecretAccessKey, Token, Expiration string
	}{"Success", k.Issued.Format(time.RFC3339), "AWS-HMAC", k.AccessKeyID, k.SecretAccessKey, k.SessionToken, k.Expires.Format(time.RFC3339)})
}

// renew issues new keys in time: when a sixth of their life is left, which for
// EC2's own is well before the five minutes that it promises.
func (r *roleKeys) renew(account *Account, role, session string) error {
	lifetime := r.lifetime
	if r.expired {
		lifetime = -time.Minute
	}
	held := r.keys
	if held.AccessKeyID != "" && (r.expired || held.Expires.Sub(account.env.Now()) > lifetime/6) {
		return nil
	}
	keys, err := account.AssumeRole(role, session, lifetime)
	r.keys = keys
	return err
}
