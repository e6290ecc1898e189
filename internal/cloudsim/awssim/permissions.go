package awssim

import (
	"fmt"
	"strings"
	"sync"
)

// Permissions say which principal may do what, as IAM's identity-based
// policies do: nothing that was not allowed, and nothing that was denied. It
// may be used by several goroutines and shared by several services.
type Permissions struct {
	mu         sync.Mutex
	statements []statement
}

type statement struct {
	deny                        bool
	principal, action, resource string
}

// Allow lets a role or user, by its ARN, do an action ("ssm:GetParameter") to
// resources. An asterisk in action and resource stands for anything.
func (p *Permissions) Allow(principal, action, resource string) {
	p.add(statement{false, principal, action, resource})
}

// Deny takes precedence over whatever is allowed.
func (p *Permissions) Deny(principal, action, resource string) {
	p.add(statement{true, principal, action, resource})
}

func (p *Permissions) add(s statement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statements = append(p.statements, s)
}

// check is nil or the refusal that clients see.
func (p *Permissions) check(caller issued, action, resource string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	reason := "because no identity-based policy allows the " + action + " action"
	allowed := false
	for _, s := range p.statements {
		if s.principal != caller.entity.arn || !fits(s.action, action) || !fits(s.resource, resource) {
			continue
		}
		if s.deny {
			allowed, reason = false, "with an explicit deny in an identity-based policy"
			break
		}
		allowed = true
	}
	if allowed {
		return nil
	}
	return badRequest("AccessDeniedException", "User: %s is not authorized to perform: %s on resource: %s %s", caller.arn, action, resource, reason)
}

// fits matches text with a pattern whose asterisks stand for anything.
func fits(pattern, text string) bool {
	before, after, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == text
	}
	rest, begins := strings.CutPrefix(text, before)
	if !begins {
		return false
	}
	for i := range len(rest) + 1 {
		if fits(after, rest[i:]) {
			return true
		}
	}
	return false
}

// RoleARN names a role of the account; it is empty when there is none.
func (a *Account) RoleARN(name string) string {
	role, _ := a.role(name)
	return role.arn
}

// KeyARN names a KMS key of the account.
func (a *Account) KeyARN(region, id string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", region, a.id, id)
}
