package awssim

import (
	"fmt"
	"time"
)

// roleKeys are the keys that an instance's metadata hands out.
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

// roleDocument is what security-credentials/ROLE answers. EC2 answers 200 even
// when it cannot assume the role, with a Code that says so.
func (m *IMDS) roleDocument() string {
	if err := m.renewKeys(); err != nil {
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

// renewKeys issues new keys in time: when a sixth of their life is left, which
// for EC2's own is well before the five minutes that it promises.
func (m *IMDS) renewKeys() error {
	lifetime := m.role.lifetime
	if m.role.expired {
		lifetime = -time.Minute
	}
	held := m.role.keys
	if held.AccessKeyID != "" && (m.role.expired || held.Expires.Sub(m.account.env.Now()) > lifetime/6) {
		return nil
	}
	keys, err := m.account.AssumeRole(m.instance.Role, m.instance.ID, lifetime)
	m.role.keys = keys
	return err
}
