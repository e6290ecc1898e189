package awssim

import (
	"encoding/json"
	"fmt"
	"strings"
)

// document is a policy as IAM keeps it. Members that are not here (NotAction,
// Principal, …) are refused: whoever needs them has to teach them to statement.
type document struct {
	Version   string
	Statement []struct {
		Sid, Effect      string
		Action, Resource texts
		Condition        struct{ StringEquals map[string]texts }
	}
}

// texts are one text or several, as in IAM's grammar.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(t))
}

// Attach gives a role or user, by its ARN, a policy, as PutRolePolicy does. It
// fails where the stand-in would decide otherwise than IAM.
func (p *Permissions) Attach(principal, policy string) error {
	var read document
	decoder := json.NewDecoder(strings.NewReader(policy))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return fmt.Errorf("policy of %s: %w", principal, err)
	}
	if read.Version != "2012-10-17" {
		return fmt.Errorf("policy of %s: version %q is not 2012-10-17", principal, read.Version)
	}
	for _, s := range read.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || len(s.Resource) == 0 {
			return fmt.Errorf("policy of %s: statement %q lacks Effect, Action or Resource", principal, s.Sid)
		}
		equals := map[string][]string{}
		for key, values := range s.Condition.StringEquals {
			equals[key] = values
		}
		for _, action := range s.Action {
			for _, resource := range s.Resource {
				p.add(statement{s.Effect == "Deny", principal, action, resource, equals})
			}
		}
	}
	return nil
}

// via is what KMS knows of a request that this service makes for its caller.
func (s *JSONService) via() facts {
	return facts{"kms:ViaService": s.name + "." + s.region + ".amazonaws.com"}
}
