package awssim

import (
	"fmt"
	"slices"
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
	equals                      map[string][]string // condition keys, and which values fit
}

// facts are what a request is known by beside action and resource: condition
// keys and their values.
type facts map[string]string

// Allow lets a role or user, by its ARN, do an action ("ssm:GetParameter") to
// resources. In action and resource an asterisk stands for anything, slashes
// and colons too, and a question mark for one character.
func (p *Permissions) Allow(principal, action, resource string) {
	p.add(statement{principal: principal, action: action, resource: resource})
}

// Deny takes precedence over whatever is allowed.
func (p *Permissions) Deny(principal, action, resource string) {
	p.add(statement{deny: true, principal: principal, action: action, resource: resource})
}

func (p *Permissions) add(s statement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statements = append(p.statements, s)
}

// check is nil or the refusal that clients see.
func (p *Permissions) check(caller issued, action, resource string, about facts) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	reason := "because no identity-based policy allows the " + action + " action"
	allowed := false
	for _, s := range p.statements {
		if s.principal != caller.entity.arn || !fits(s.action, action) || !fits(s.resource, resource) || !s.holds(about) {
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

// holds says whether the conditions are fulfilled: each key is known of the
// request, and has one of the values.
func (s statement) holds(about facts) bool {
	for key, values := range s.equals {
		if value, known := about[key]; !known || !slices.Contains(values, value) {
			return false
		}
	}
	return true
}

// fits matches text with a pattern whose asterisks stand for anything, and
// whose question marks for one character each.
func fits(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return fits(pattern[1:], text) || text != "" && fits(pattern, text[1:])
	case text == "" || pattern[0] != '?' && pattern[0] != text[0]:
		return false
	}
	return fits(pattern[1:], text[1:])
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
