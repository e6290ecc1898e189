//go:build terraform

package applied_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/config"
	"github.com/quaymaster/quaymaster/broker/secret"
)

// identity makes this process run on one machine of a cloud, and gives the
// attestor that the agent would have there for a role of Vault.
type identity func(t *testing.T, role string) (auth.Attestor, error)

// login logs in as the agent does that has this configuration, as a role, until
// the test ends.
func login(t *testing.T, file, role string, on identity) (*vaultclient.Client, auth.Token, error) {
	t.Helper()
	c, _, err := config.Load(file)
	must(t, err)
	client, err := vaultclient.New(vaultclient.Config{Address: c.Vault.Address, CAFile: c.Vault.CAFile})
	must(t, err)
	attestor, err := on(t, role)
	must(t, err)
	var log bytes.Buffer
	source, err := vaultlogin.New(vaultlogin.Options{Client: client, Attestor: attestor, Mount: c.Vault.Mount, Role: role,
		Audience: c.Vault.ServerID, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
		client.CloseIdleConnections()
	})
	token, err := source.Token(soon(t))
	return client, token, err
}

// attempt is one request of a token.
type attempt struct {
	verb, path string
	body       map[string]any
}

func (a attempt) make(ctx context.Context, client *api.Client) (err error) {
	switch a.verb {
	case "read":
		_, err = client.Logical().ReadWithContext(ctx, a.path)
	case "list":
		_, err = client.Logical().ListWithContext(ctx, a.path)
	case "write":
		_, err = client.Logical().WriteWithContext(ctx, a.path, a.body)
	case "delete":
		_, err = client.Logical().DeleteWithContext(ctx, a.path)
	}
	return err
}

func denied(err error) bool {
	answer, is := errors.AsType[*api.ResponseError](err)
	return is && answer.StatusCode == 403
}

var (
	certificate = map[string]any{"common_name": "timeline.shop.internal"}
	fields      = map[string]any{"data": map[string]any{"v": "overwritten"}}

	ofTimeline = []attempt{{"read", "kv/data/shop/db", nil}, {"read", "kv/data/shop/timeline/key", nil}, {"read", "kv1/shop/legacy", nil},
		{"write", "pki/issue/timeline", certificate}}
	ofNarrow   = []attempt{{"read", "kv/data/narrow", nil}}
	ofPayments = []attempt{{"read", "kv/data/payments/key", nil}}

	// What is beside all grants.
	beside = []attempt{
		{"read", "kv/data/other/db", nil}, {"read", "kv/data/narrower", nil}, {"read", "kv/data/shopkeeper", nil}, {"read", "kv/data/payments/deeper/key", nil},
		{"read", "kv1/shop/old/legacy", nil}, {"write", "pki/issue/bank", certificate}, {"write", "pki/sign/timeline", certificate},
		{"list", "kv/metadata/shop", nil}, {"read", "kv/metadata/shop/db", nil}, {"list", "kv1/shop", nil}, {"read", "kv/config", nil},
		{"write", "kv/data/shop/db", fields}, {"delete", "kv/data/shop/db", nil}, {"write", "kv/destroy/shop/db", map[string]any{"versions": []int{1}}},
		{"write", "kv1/shop/legacy", map[string]any{"value": "overwritten"}}, {"read", "pki/roles/timeline", nil},
		{"read", "sys/auth", nil}, {"list", "sys/policies/acl", nil}, {"read", "sys/policies/acl/docker-host-timeline", nil},
		{"write", "sys/policies/acl/docker-host-timeline", map[string]any{"policy": `path "*" { capabilities = ["read"] }`}},
		{"read", "sys/mounts", nil}, {"list", "auth/token/accessors", nil}, {"list", "identity/entity/id", nil},
	}
)

// rights: the host's token does what the grants without a role of their own
// say, that of the role payments what its grant says, a child of the host's
// token no more than its policies; and nobody anything else.
func rights(t *testing.T, file string, on identity) {
	client, host, err := login(t, file, "docker-host", on)
	must(t, err)
	_, payments, err := login(t, file, "payments", on)
	must(t, err)
	child := func(of auth.Token, policies ...string) *api.Client {
		made, err := client.With(of.Value).Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: policies})
		must(t, err)
		return client.With(secret.NewValue([]byte(made.Auth.ClientToken)))
	}
	for name, c := range map[string]struct {
		token   *api.Client
		granted []attempt
	}{
		"the host":            {client.With(host.Value), slices.Concat(ofTimeline, ofNarrow)},
		"payments":            {client.With(payments.Value), ofPayments},
		"a child of payments": {child(payments), ofPayments},
		"a child narrow":      {child(host, "narrow"), ofNarrow},
	} {
		for _, a := range slices.Concat(ofTimeline, ofNarrow, ofPayments, beside) {
			err := a.make(t.Context(), c.token)
			switch granted := slices.ContainsFunc(c.granted, func(g attempt) bool { return g.verb == a.verb && g.path == a.path }); {
			case granted && err != nil:
				t.Errorf("%s may not %s %s: %v", name, a.verb, a.path, err)
			case !granted && !denied(err):
				t.Errorf("%s is not denied to %s %s: %v", name, a.verb, a.path, err)
			}
		}
		if _, err := c.token.Auth().Token().RenewSelfWithContext(t.Context(), 0); err != nil {
			t.Errorf("%s cannot renew its token: %v", name, err)
		}
	}
	if _, err := client.With(host.Value).Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{"docker-host-payments"}}); err == nil {
		t.Error("the host's token makes a child that may read what is for payments alone")
	}
}

// refused: somebody else's identity gets no token, of no role.
func refused(t *testing.T, file string, on identity) {
	for _, role := range []string{"docker-host", "payments"} {
		if _, _, err := login(t, file, role, on); !errors.Is(err, auth.ErrRefused) {
			t.Errorf("role %s is not refused to another identity: %v", role, err)
		}
	}
}
