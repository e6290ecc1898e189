package realvault

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"
)

// AzureAuth is an azure auth method. Vault asks Microsoft's own hosts, which
// are hard-coded in it: lead it to a stand-in by HTTPS_PROXY and SSL_CERT_FILE
// in Options.Env.
type AzureAuth struct {
	Mount    string // "azure", for example
	TenantID string
	// Resource is the audience that a login's token must be for.
	Resource string
	// ClientID and ClientSecret are the application as which Vault asks Azure
	// about machines.
	ClientID, ClientSecret string
	// Environment is the cloud; empty: AzurePublicCloud.
	Environment string
}

// EnableAzure enables and configures an azure auth method.
func (v *Vault) EnableAzure(ctx context.Context, a AzureAuth) error {
	err := v.client.Sys().EnableAuthWithOptionsWithContext(ctx, a.Mount, &api.EnableAuthOptions{Type: "azure"})
	if err != nil {
		return fmt.Errorf("enable azure auth at %s: %w", a.Mount, err)
	}
	config := map[string]any{
		"tenant_id":     a.TenantID,
		"resource":      a.Resource,
		"client_id":     a.ClientID,
		"client_secret": a.ClientSecret,
		"environment":   a.Environment,
		"max_retries":   -1, // a test wants to see the first answer
	}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+a.Mount+"/config", config); err != nil {
		return fmt.Errorf("configure azure auth at %s: %w", a.Mount, err)
	}
	return nil
}

// AzureRole lets managed identities of Azure log in and says what their tokens
// may do. What is bound to nothing is not asked for; one of ServicePrincipals
// must be given, and may be "*" for all.
type AzureRole struct {
	Mount, Name string
	// ServicePrincipals are the identities' object IDs.
	ServicePrincipals                                   []string
	Subscriptions, ResourceGroups, Locations, ScaleSets []string
	Policies                                            []string
	// TTL and MaxTTL of the token, in whole seconds; zero leaves each to
	// Vault's default.
	TTL, MaxTTL time.Duration
}

// WriteAzureRole creates or replaces a role of an azure auth method.
func (v *Vault) WriteAzureRole(ctx context.Context, r AzureRole) error {
	role := map[string]any{
		"bound_service_principal_ids": r.ServicePrincipals,
		"bound_subscription_ids":      r.Subscriptions,
		"bound_resource_groups":       r.ResourceGroups,
		"bound_locations":             r.Locations,
		"bound_scale_sets":            r.ScaleSets,
		"token_policies":              r.Policies,
		"token_ttl":                   int(r.TTL.Seconds()),
		"token_max_ttl":               int(r.MaxTTL.Seconds()),
	}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+r.Mount+"/role/"+r.Name, role); err != nil {
		return fmt.Errorf("write role %s of %s: %w", r.Name, r.Mount, err)
	}
	return nil
}
