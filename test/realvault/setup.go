package realvault

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/hashicorp/vault/api"
)

// MountKV mounts a KV secrets engine of the given version, 1 or 2, at mount.
func (v *Vault) MountKV(ctx context.Context, mount string, version int) error {
	input := &api.MountInput{Type: "kv", Options: map[string]string{"version": fmt.Sprint(version)}}
	if err := v.client.Sys().MountWithContext(ctx, mount, input); err != nil {
		return fmt.Errorf("mount KV v%d at %s: %w", version, mount, err)
	}
	if version == 1 {
		return nil
	}
	return v.awaitKV2(ctx, mount)
}

// awaitKV2 waits until a new KV v2 mount serves: it upgrades its storage in
// the background at first, and refuses requests with a 400 meanwhile.
func (v *Vault) awaitKV2(ctx context.Context, mount string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return v.process.Until(ctx, func(ctx context.Context) error {
		_, err := v.client.Logical().ReadWithContext(ctx, path.Join(mount, "config"))
		return err
	})
}

// PutKV1 writes a secret to a KV v1 mount.
func (v *Vault) PutKV1(ctx context.Context, mount, name string, fields map[string]any) error {
	if err := v.client.KVv1(mount).Put(ctx, name, fields); err != nil {
		return fmt.Errorf("write %s/%s: %w", mount, name, err)
	}
	return nil
}

// PutKV2 writes a new version of a secret to a KV v2 mount and returns its
// number.
func (v *Vault) PutKV2(ctx context.Context, mount, name string, fields map[string]any) (version int, err error) {
	written, err := v.client.KVv2(mount).Put(ctx, name, fields)
	if err != nil {
		return 0, fmt.Errorf("write %s/%s: %w", mount, name, err)
	}
	return written.VersionMetadata.Version, nil
}

// WritePolicy creates or replaces a policy, given as HCL.
func (v *Vault) WritePolicy(ctx context.Context, name, rules string) error {
	if err := v.client.Sys().PutPolicyWithContext(ctx, name, rules); err != nil {
		return fmt.Errorf("write policy %s: %w", name, err)
	}
	return nil
}

// AWSAuth is an aws auth method that asks stand-ins instead of Amazon.
type AWSAuth struct {
	Mount string // "aws", for example
	// STS, IAM and EC2 are base URLs. Only STS is needed for logins of type
	// iam to roles that do not resolve unique IDs.
	STS, IAM, EC2 string
	// ServerID is what a login's X-Vault-AWS-IAM-Server-ID header must say.
	// Without one, Vault does not ask for the header.
	ServerID string
	// AccessKey and SecretKey sign Vault's own requests to IAM and EC2.
	AccessKey, SecretKey string
}

// EnableAWS enables and configures an aws auth method.
func (v *Vault) EnableAWS(ctx context.Context, a AWSAuth) error {
	err := v.client.Sys().EnableAuthWithOptionsWithContext(ctx, a.Mount, &api.EnableAuthOptions{Type: "aws"})
	if err != nil {
		return fmt.Errorf("enable aws auth at %s: %w", a.Mount, err)
	}
	config := map[string]any{
		"sts_endpoint":               a.STS,
		"sts_region":                 "us-east-1",
		"iam_endpoint":               a.IAM,
		"endpoint":                   a.EC2,
		"iam_server_id_header_value": a.ServerID,
		"access_key":                 a.AccessKey,
		"secret_key":                 a.SecretKey,
		"max_retries":                0,
	}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+a.Mount+"/config/client", config); err != nil {
		return fmt.Errorf("configure aws auth at %s: %w", a.Mount, err)
	}
	// Tokens say which principal logged in, as a well set up Vault's do.
	identity := map[string]any{"iam_metadata": []string{"account_id", "auth_type", "canonical_arn", "client_arn"}}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+a.Mount+"/config/identity", identity); err != nil {
		return fmt.Errorf("configure the metadata of aws auth at %s: %w", a.Mount, err)
	}
	return nil
}

// IAMRole lets a principal of AWS log in and says what its token may do.
type IAMRole struct {
	Mount, Name string
	// Principal is the ARN that may log in, with a trailing * as a wildcard.
	Principal string
	Policies  []string
	// TTL, MaxTTL and Period of the token, in whole seconds; zero leaves each
	// to Vault's default. A token with a Period can be renewed for ever.
	TTL, MaxTTL, Period time.Duration
	// ResolveUniqueIDs binds the role to the principal's unique ID, which
	// Vault asks IAM for, instead of to its name.
	ResolveUniqueIDs bool
}

// WriteIAMRole creates or replaces a role of an aws auth method.
func (v *Vault) WriteIAMRole(ctx context.Context, r IAMRole) error {
	role := map[string]any{
		"auth_type":               "iam",
		"bound_iam_principal_arn": []string{r.Principal},
		"resolve_aws_unique_ids":  r.ResolveUniqueIDs,
		"token_policies":          r.Policies,
		"token_ttl":               int(r.TTL.Seconds()),
		"token_max_ttl":           int(r.MaxTTL.Seconds()),
		"token_period":            int(r.Period.Seconds()),
	}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+r.Mount+"/role/"+r.Name, role); err != nil {
		return fmt.Errorf("write role %s of %s: %w", r.Name, r.Mount, err)
	}
	return nil
}
