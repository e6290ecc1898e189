package realvault

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"
)

// GCPAuth is a gcp auth method that asks stand-ins instead of Google. It has no
// key of its own: Vault gets access tokens from a metadata server, which
// GCE_METADATA_HOST in Options.Env must name.
type GCPAuth struct {
	Mount string // "gcp", for example
	// APIs is the base URL of Google's certificates and of IAM; Compute is
	// that of Compute Engine's API, and ends in /compute/v1/.
	APIs, Compute string
}

// EnableGCP enables and configures a gcp auth method.
func (v *Vault) EnableGCP(ctx context.Context, a GCPAuth) error {
	err := v.client.Sys().EnableAuthWithOptionsWithContext(ctx, a.Mount, &api.EnableAuthOptions{Type: "gcp"})
	if err != nil {
		return fmt.Errorf("enable gcp auth at %s: %w", a.Mount, err)
	}
	config := map[string]any{
		"custom_endpoint": map[string]string{"api": a.APIs, "iam": a.APIs, "crm": a.APIs, "compute": a.Compute},
	}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+a.Mount+"/config", config); err != nil {
		return fmt.Errorf("configure gcp auth at %s: %w", a.Mount, err)
	}
	return nil
}

// GCPRole lets service accounts or instances of Google Cloud log in and says
// what their tokens may do. An empty list binds nothing.
type GCPRole struct {
	Mount, Name string
	Type        string // "gce" or "iam"
	// Projects, ServiceAccounts (emails or unique IDs; needed for iam) and the
	// others, for gce only, that may log in. Labels are "key:value".
	Projects, ServiceAccounts              []string
	Zones, Regions, InstanceGroups, Labels []string
	// MaxJWTExp is how far ahead the end of a JWT may lie, for iam only; zero:
	// Vault's default of 15 minutes.
	MaxJWTExp time.Duration
	Policies  []string
	// TTL and MaxTTL of the token, in whole seconds; zero leaves each to
	// Vault's default.
	TTL, MaxTTL time.Duration
}

// WriteGCPRole creates a role of a gcp auth method.
func (v *Vault) WriteGCPRole(ctx context.Context, r GCPRole) error {
	role := map[string]any{
		"type":                   r.Type,
		"bound_projects":         r.Projects,
		"bound_service_accounts": r.ServiceAccounts,
		"token_policies":         r.Policies,
		"token_ttl":              int(r.TTL.Seconds()),
		"token_max_ttl":          int(r.MaxTTL.Seconds()),
	}
	// Vault refuses a role with settings of the other type, even empty ones.
	for name, bound := range map[string][]string{
		"bound_zones": r.Zones, "bound_regions": r.Regions, "bound_instance_groups": r.InstanceGroups, "bound_labels": r.Labels,
	} {
		if len(bound) > 0 {
			role[name] = bound
		}
	}
	if r.MaxJWTExp > 0 {
		role["max_jwt_exp"] = int(r.MaxJWTExp.Seconds())
	}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+r.Mount+"/role/"+r.Name, role); err != nil {
		return fmt.Errorf("write role %s of %s: %w", r.Name, r.Mount, err)
	}
	return nil
}
