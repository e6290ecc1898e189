package realvault

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"
)

// TrustAWSCertificate lets an aws auth method believe identity documents of
// instances that the holder of a certificate, given as PEM, has signed as
// PKCS#7.
func (v *Vault) TrustAWSCertificate(ctx context.Context, mount, name string, pem []byte) error {
	certificate := map[string]any{"aws_public_cert": base64.StdEncoding.EncodeToString(pem), "type": "pkcs7"}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+mount+"/config/certificate/"+name, certificate); err != nil {
		return fmt.Errorf("write certificate %s of %s: %w", name, mount, err)
	}
	return nil
}

// SetSTSRegion says which region's STS an aws auth method asks on its own
// behalf.
func (v *Vault) SetSTSRegion(ctx context.Context, mount, region string) error {
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+mount+"/config/client", map[string]any{"sts_region": region}); err != nil {
		return fmt.Errorf("set the STS region of %s: %w", mount, err)
	}
	return nil
}

// ForgetInstance deletes what an aws auth method knows of an instance's login
// of type ec2: its nonce, above all.
func (v *Vault) ForgetInstance(ctx context.Context, mount, instanceID string) error {
	if _, err := v.client.Logical().DeleteWithContext(ctx, "auth/"+mount+"/identity-accesslist/"+instanceID); err != nil {
		return fmt.Errorf("delete instance %s from the access list of %s: %w", instanceID, mount, err)
	}
	return nil
}

// AWSRole lets principals or instances of AWS log in and says what their
// tokens may do. An empty list binds nothing.
type AWSRole struct {
	Mount, Name string
	Type        string // "iam" or "ec2"
	// Principals are ARNs, for iam only, with a trailing * as a wildcard;
	// ResolveUniqueIDs binds the role to their unique IDs instead.
	Principals       []string
	ResolveUniqueIDs bool
	// InferRegion makes Vault take the session of an iam login for an instance
	// of that region, which the bounds below then hold for.
	InferRegion string
	// What an instance must be: for ec2, or for iam with InferRegion. Regions
	// are for ec2 only.
	AMIs, Instances, VPCs, Subnets, Profiles, IAMRoles, Accounts, Regions []string
	// AllowMigration and DisallowReauthentication are for ec2 only.
	AllowMigration, DisallowReauthentication bool

	Policies    []string
	TTL, MaxTTL time.Duration // in whole seconds; zero: Vault's default
	Batch       bool          // tokens are batch tokens
}

// WriteAWSRole creates a role of an aws auth method.
func (v *Vault) WriteAWSRole(ctx context.Context, r AWSRole) error {
	role := map[string]any{
		"auth_type": r.Type, "token_policies": r.Policies,
		"token_ttl": int(r.TTL.Seconds()), "token_max_ttl": int(r.MaxTTL.Seconds()),
	}
	// Vault refuses a role with settings of the other type, even empty ones.
	for name, bound := range map[string][]string{
		"bound_iam_principal_arn": r.Principals, "bound_ami_id": r.AMIs, "bound_ec2_instance_id": r.Instances, "bound_vpc_id": r.VPCs,
		"bound_subnet_id": r.Subnets, "bound_iam_instance_profile_arn": r.Profiles, "bound_iam_role_arn": r.IAMRoles,
		"bound_account_id": r.Accounts, "bound_region": r.Regions,
	} {
		if len(bound) > 0 {
			role[name] = bound
		}
	}
	if r.Type == "iam" {
		role["resolve_aws_unique_ids"] = r.ResolveUniqueIDs
	}
	if r.InferRegion != "" {
		role["inferred_entity_type"], role["inferred_aws_region"] = "ec2_instance", r.InferRegion
	}
	for name, set := range map[string]bool{"allow_instance_migration": r.AllowMigration, "disallow_reauthentication": r.DisallowReauthentication} {
		if set {
			role[name] = true
		}
	}
	if r.Batch {
		role["token_type"] = "batch"
	}
	if _, err := v.client.Logical().WriteWithContext(ctx, "auth/"+r.Mount+"/role/"+r.Name, role); err != nil {
		return fmt.Errorf("write role %s of %s: %w", r.Name, r.Mount, err)
	}
	return nil
}
