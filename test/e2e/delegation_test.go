//go:build integration

package e2e_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// delegating has two grants whose secrets are read in the name of the
// container: one by a role of its own, one by fewer policies.
const delegating = `refresh: 1s
gate_timeout: 5s
grants:
  - name: payments
    workloads: {label.app: shop, compose.service: payments}
    secrets: ["vault:kv/payments/**"]
    vault: {role: payments}
  - name: narrow
    workloads: {label.app: shop, compose.service: narrow}
    secrets: ["vault:kv/**"]
    vault: {policies: [narrow]}
`

// letDelegate gives the host's role the right to make tokens for containers,
// and makes the policies and the role of the grants.
func letDelegate(t *testing.T) {
	t.Helper()
	v, ctx := realVault(), soon(t)
	const create = `path "auth/token/create" { capabilities = ["update"] }`
	role := realvault.IAMRole{Mount: "aws", Name: host.Role, Principal: host.Principal, TTL: time.Hour}
	for _, err := range []error{
		v.WritePolicy(ctx, "delegate", create),
		v.WritePolicy(ctx, "payments", create+"\n"+`path "kv/data/payments/*" { capabilities = ["read"] }`),
		v.WritePolicy(ctx, "narrow", `path "kv/data/shop/*" { capabilities = ["read"] }`),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := role
	before.Policies, role.Policies = []string{host.Role}, []string{host.Role, "delegate", "narrow"}
	payments := role
	payments.Name, payments.Policies = "payments", []string{"payments"}
	for _, r := range []realvault.IAMRole{role, payments} {
		if err := v.WriteIAMRole(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := v.WriteIAMRole(context.Background(), before); err != nil {
			t.Error(err)
		}
	})
}

// TestVaultsAuditLogNamesTheContainer reads secrets for two containers whose
// grants have logins of their own. Vault's own audit log says for which
// container each read was, and the tokens are gone with the containers.
func TestVaultsAuditLogNamesTheContainer(t *testing.T) {
	letDelegate(t)
	reconfigure(t, h, delegating)
	ctx := soon(t)
	if err := h.Vault.PutSecret(ctx, "kv", "payments/key", map[string]any{"v": "sesame"}); err != nil {
		t.Fatal(err)
	}
	for service, c := range map[string]struct {
		ref, path string
		policies  []string
	}{
		"payments": {"vault:kv/payments/key", "kv/data/payments/key", []string{"default", "payments"}},
		"narrow":   {"vault:kv/shop/db#password", "kv/data/shop/db", []string{"default", "narrow"}},
	} {
		config := probe("hold", labels("quaymaster.secret.v", c.ref,
			"com.docker.compose.project", "shop", "com.docker.compose.service", service))
		id, err := h.Engine.Launch(ctx, config, gated())
		if err != nil {
			t.Fatal(err)
		}
		name, err := h.Engine.Client().ContainerInspect(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := realVault().Audit(c.path, "read")
		if err != nil {
			t.Fatal(err)
		}
		entries = slices.DeleteFunc(entries, func(e realvault.AuditEntry) bool { return e.Auth.Metadata["container_id"] != id })
		if len(entries) == 0 {
			t.Fatalf("no read of %s in Vault's audit log names container %s", c.path, id)
		}
		read := entries[0].Auth
		for key, want := range map[string]string{
			"container_id": id, "container_name": strings.TrimPrefix(name.Name, "/"), "image": engine.ProbeImage,
			"compose_project": "shop", "compose_service": service,
		} {
			if read.Metadata[key] != want {
				t.Errorf("%s: Vault's audit log has %s=%q, want %q", service, key, read.Metadata[key], want)
			}
		}
		if slices.Sort(read.Policies); !slices.Equal(read.Policies, c.policies) {
			t.Errorf("%s: the read was made with the policies %v, want %v", service, read.Policies, c.policies)
		}
		remove(t, h, id)
		await(t, h, "the container's token to be revoked", func() bool {
			revocations, err := realVault().Audit("auth/token/revoke-self", "update")
			return err == nil && slices.ContainsFunc(revocations, func(e realvault.AuditEntry) bool { return e.Auth.Metadata["container_id"] == id })
		})
	}
}

// TestNarrowLoginIsDenied: what the host may read and the grant's own login may
// not is denied by Vault, and the message says for whom.
func TestNarrowLoginIsDenied(t *testing.T) {
	letDelegate(t)
	reconfigure(t, h, delegating)
	config := probe("hold", labels("quaymaster.secret.v", "vault:kv/other/db",
		"com.docker.compose.project", "shop", "com.docker.compose.service", "narrow"))
	checkRefusal(t, config, gated(), "denied by the secret store")
}

// TestLoginOfAContainerNeedsARule: without the rule to make tokens, a grant
// with a login of its own fails with the rule that is missing.
func TestLoginOfAContainerNeedsARule(t *testing.T) {
	letDelegate(t)
	if err := realVault().WritePolicy(soon(t), "delegate", `path "none" { capabilities = ["read"] }`); err != nil {
		t.Fatal(err)
	}
	reconfigure(t, h, delegating)
	config := probe("hold", labels("quaymaster.secret.v", "vault:kv/shop/db#password",
		"com.docker.compose.project", "shop", "com.docker.compose.service", "narrow"))
	checkRefusal(t, config, gated(), `path "auth/token/create"`)
}
