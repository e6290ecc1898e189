package realvault

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"
)

// PKIRole says which certificates may be asked for.
type PKIRole struct {
	Mount, Name string
	Domains     []string // whose subdomains may be named
	KeyType     string   // "ec", "rsa", or "any", which is for sign alone; empty: "ec"
	KeyBits     int      // zero: the default of the type
	// TTL and MaxTTL of the certificates, in whole seconds.
	TTL, MaxTTL time.Duration
	// Lease makes Vault keep a lease for each certificate, whose end revokes it.
	Lease bool
}

// EnablePKI mounts a PKI engine with a root authority of its own, and returns
// the authority's certificate (PEM).
func (v *Vault) EnablePKI(ctx context.Context, mount string) (ca string, err error) {
	if err := v.mount(ctx, mount, "pki"); err != nil {
		return "", err
	}
	year := "8760h"
	if err := v.client.Sys().TuneMountAllowNilWithContext(ctx, mount, api.TuneMountConfigInput{MaxLeaseTTL: &year}); err != nil {
		return "", fmt.Errorf("let certificates of %s live for a year: %w", mount, err)
	}
	root := map[string]any{"common_name": "Quaymaster test root", "key_type": "ec", "key_bits": 256, "ttl": year}
	made, err := v.client.Logical().WriteWithContext(ctx, mount+"/root/generate/internal", root)
	if err != nil {
		return "", fmt.Errorf("make the root of %s: %w", mount, err)
	}
	ca, isText := made.Data["certificate"].(string)
	if !isText {
		return "", fmt.Errorf("make the root of %s: Vault answered without a certificate", mount)
	}
	return ca, nil
}

// WritePKIRole creates or replaces a role.
func (v *Vault) WritePKIRole(ctx context.Context, r PKIRole) error {
	role := map[string]any{
		"allowed_domains":  r.Domains,
		"allow_subdomains": true,
		"allowed_uri_sans": []string{"spiffe://*"},
		"key_type":         "ec",
		"ttl":              int(r.TTL.Seconds()),
		"max_ttl":          int(r.MaxTTL.Seconds()),
		"generate_lease":   r.Lease,
	}
	if r.KeyType != "" {
		role["key_type"] = r.KeyType
	}
	if r.KeyBits != 0 {
		role["key_bits"] = r.KeyBits
	}
	return v.put(ctx, r.Mount+"/roles/"+r.Name, role)
}
