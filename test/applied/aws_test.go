//go:build terraform

package applied_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/engine"
	"github.com/quaymaster/quaymaster/test/host"
	"github.com/quaymaster/quaymaster/test/realvault"
	"github.com/quaymaster/quaymaster/test/shop"
)

// unbound is a Vault in which nobody may log in yet: that is Terraform's task.
type unbound struct {
	*host.RealVault
	sts string
}

func (u *unbound) Bind(_ context.Context, sts string) error {
	u.sts = sts
	return nil
}

// TestAWS: Terraform makes everything in Vault and writes the host's
// configuration; the agent as it ships, on a real engine, starts from that and
// gives each container what its grant says.
func TestAWS(t *testing.T) {
	ctx := t.Context()
	real, err := host.StartRealVault(ctx, realvault.Options{TLS: true})
	must(t, err)
	vault := &unbound{RealVault: real}
	h, err := host.Start(ctx, host.Options{Vault: vault})
	must(t, err)
	t.Cleanup(func() {
		if err := h.Remove(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	fill(t, real.Vault)
	a := apply(t, real.Vault, hostOf(h, vault))
	a.settled(t)
	boot(t, a.output(t, "user_data"))
	if stdout, _, err := h.Quaymaster(ctx, "validate", "--config", h.ConfigFile()); err != nil {
		t.Fatalf("%s%v", stdout, err)
	}
	_, err = h.Install(ctx)
	must(t, err)
	must(t, h.StartAgent(ctx))
	if !t.Run("containers", func(t *testing.T) { containers(t, h) }) {
		t.Log(h.Log())
	}
	must(t, h.StopAgent(ctx))

	t.Run("rights", func(t *testing.T) { rights(t, h.ConfigFile(), onAWS(h.AWS, host.Role)) })
	t.Run("another identity", func(t *testing.T) { refused(t, h.ConfigFile(), onAWS(h.AWS, "another-role")) })
	a.destroyed(t)
}

// hostOf is what the modules are told about the host.
func hostOf(h *host.Host, vault *unbound) setting {
	return setting{
		"identity": "aws",
		"binding": map[string]any{"aws": map[string]any{"bound_iam_principal_arns": []string{host.Principal}, "server_id": host.ServerID,
			"sts_endpoint": vault.sts, "sts_region": "us-east-1"}},
		"directory": filepath.Dir(h.ConfigFile()),
		"ca":        vault.CAFile(),
		"settings": map[string]any{
			"docker":       map[string]any{"host": h.Engine.Host(), "plugin": h.Plugin(), "cdi_dir": h.CDIDir()},
			"paths":        map[string]any{"run": filepath.Dir(filepath.Dir(h.Trees())), "state": h.StateDir()},
			"audit":        map[string]any{"file": h.AuditFile()},
			"gate_timeout": "5s",
		},
	}
}

// onAWS is an instance that has a role of the account.
func onAWS(account *awssim.Account, role string) identity {
	return func(t *testing.T, _ string) (auth.Attestor, error) {
		instance := awssim.NewIMDS(account, awssim.Instance{ID: "i-0fedcba9876543210", Region: host.Region, AvailabilityZone: host.Region + "a", Role: role})
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, instance, cloudsim.Options{}))
		return aws.New(aws.Options{})
	}
}

// containers starts one container for each grant, and one that asks for what is
// beside its grant.
func containers(t *testing.T, h *host.Host) {
	for name, c := range map[string]struct{ service, ref, value string }{
		"a secret":             {"timeline", "vault:kv/shop/db#password", shop.Password},
		"deeper":               {"timeline", "vault:kv/shop/timeline/key#v", "deep"},
		"version 1":            {"timeline", "vault:kv1/shop/legacy#value", shop.Legacy},
		"a certificate":        {"timeline", "vault:pki/issue/timeline?common_name=timeline.shop.internal#issuing_ca", ""},
		"by a role of its own": {"payments", "vault:kv/payments/key#v", "sesame"},
		"by fewer policies":    {"narrow", "vault:kv/narrow#v", "thin"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := h.Engine.Run(t.Context(), asking(c.service, c.ref), &container.HostConfig{Runtime: host.Runtime})
			if result.ID != "" {
				defer h.Engine.Client().ContainerRemove(context.WithoutCancel(t.Context()), result.ID, container.RemoveOptions{Force: true})
			}
			if err != nil {
				t.Fatal(err)
			}
			reports, err := engine.ParseReports(result.Stdout)
			if err != nil || len(reports) == 0 {
				t.Fatalf("%d reports, %v: %s", len(reports), err, result.Stderr)
			}
			file, there := reports[0].Files["v"]
			if !there || (c.value != "" && file.Fingerprint != engine.Fingerprint([]byte(c.value))) {
				t.Errorf("its files are %+v", reports[0].Files)
			}
		})
	}
	t.Run("beside the grant", func(t *testing.T) {
		id, err := h.Engine.Launch(t.Context(), asking("narrow", "vault:kv/shop/db#password"), &container.HostConfig{Runtime: host.Runtime})
		if id != "" {
			defer h.Engine.Client().ContainerRemove(context.WithoutCancel(t.Context()), id, container.RemoveOptions{Force: true})
		}
		if err == nil {
			t.Error("it started")
		}
	})
}

func asking(service, ref string) *container.Config {
	return shop.Probe("once", map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": service, "quaymaster.secret.v": ref})
}

// soon bounds one login, or its refusal.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
