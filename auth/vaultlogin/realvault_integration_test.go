//go:build integration

package vaultlogin_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
	"github.com/quaymaster/quaymaster/auth/vaultlogin"
	"github.com/quaymaster/quaymaster/broker/secret"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// newRealVault is a real Vault whose aws auth method asks the cloud's STS.
func newRealVault(t *testing.T, c *cloud, options realvault.Options) *realvault.Vault {
	t.Helper()
	v := realvault.ForTest(t, options)
	ctx := t.Context()
	put := func() error {
		_, err := v.PutKV2(ctx, "kv", "shop/db", map[string]any{"password": "correct horse"})
		return err
	}
	if err := errors.Join(
		v.EnableAWS(ctx, realvault.AWSAuth{Mount: "aws", STS: c.sts, IAM: c.sts, EC2: c.sts, ServerID: serverID}),
		v.WritePolicy(ctx, "shop", `path "kv/data/shop/*" { capabilities = ["read"] }`),
		v.MountKV(ctx, "kv", 2),
		put(),
	); err != nil {
		t.Fatal(err)
	}
	writeRole(t, v, "docker-host", "docker-host", time.Hour, 0)
	return v
}

// writeRole lets an IAM role of the cloud's account log in.
func writeRole(t *testing.T, v *realvault.Vault, name, iamRole string, ttl, maxTTL time.Duration) {
	t.Helper()
	err := v.WriteIAMRole(t.Context(), realvault.IAMRole{
		Mount: "aws", Name: name, Principal: "arn:aws:iam::111122223333:role/" + iamRole,
		Policies: []string{"shop"}, TTL: ttl, MaxTTL: maxTTL,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func requests(t *testing.T, v *realvault.Vault, path string) int {
	t.Helper()
	n, err := v.Requests(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRealVault(t *testing.T) {
	c := newCloud(t)
	v := newRealVault(t, c, realvault.Options{TLS: true})
	l := logIn(t, vaultclient.Config{Address: v.Address(), CAFile: v.CAFile()})
	together(100, func() { within(t, l.Source, 30*time.Second) })
	token := within(t, l.Source, time.Second)
	l.reads(t, token)
	if n := requests(t, v, "auth/aws/login"); n != 1 {
		t.Errorf("100 callers made %d logins", n)
	}
	if token.TTL != time.Hour || !token.Renewable || token.Accessor == "" || !strings.Contains(token.Principal, "role/docker-host") {
		t.Errorf("%+v", token)
	}
	if retry, err := l.Refused(t.Context(), token); retry || err != nil {
		t.Errorf("a token that lives: retry %v, %v", retry, err)
	}

	if err := v.Client().Auth().Token().RevokeAccessorWithContext(t.Context(), token.Accessor); err != nil {
		t.Fatal(err)
	}
	together(20, func() {
		if retry, err := l.Refused(t.Context(), token); !retry || err != nil {
			t.Errorf("a revoked token: retry %v, %v", retry, err)
		}
	})
	l.reads(t, within(t, l.Source, 30*time.Second))
	if n := requests(t, v, "auth/aws/login"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// altered is an attestor whose evidence is changed on the way.
type altered struct {
	auth.Attestor
	change func(map[string]secret.Value)
}

func (a *altered) Attest(ctx context.Context, audience string) (auth.Evidence, error) {
	evidence, err := a.Attestor.Attest(ctx, audience)
	if err == nil {
		a.change(evidence.Login)
	}
	return evidence, err
}

// alter changes one field of the evidence.
func alter(field, content string) func(*vaultlogin.Options) {
	return func(o *vaultlogin.Options) {
		o.Attestor = &altered{o.Attestor, func(login map[string]secret.Value) {
			login[field] = secret.NewValue([]byte(base64.StdEncoding.EncodeToString([]byte(content))))
		}}
	}
}

// Every refusal, with the words that a person reads.
func TestRealVaultRefuses(t *testing.T) {
	c := newCloud(t)
	v := newRealVault(t, c, realvault.Options{})
	writeRole(t, v, "somebody-else", "somebody-else", time.Hour, 0)
	for name, refusal := range map[string]struct {
		change func(*vaultlogin.Options)
		want   string
	}{
		"wrong principal": {func(o *vaultlogin.Options) { o.Role = "somebody-else" }, `: Vault refuses the request (400): IAM Principal "arn:aws:sts::111122223333:assumed-role/docker-host/i-0123456789abcdef0" does not belong to the role "somebody-else" (this host is arn:aws:iam::111122223333:role/docker-host on i-0123456789abcdef0 (eu-west-1))`},
		"wrong server ID": {func(o *vaultlogin.Options) { o.Audience = "other.internal" }, `: Vault refuses the request (400): error validating X-Vault-AWS-IAM-Server-ID header: expected "vault.internal" but got "other.internal" (this host is `},
		"no server ID":    {func(o *vaultlogin.Options) { o.Audience = "" }, `: Vault refuses the request (400): error validating X-Vault-AWS-IAM-Server-ID header: missing header "X-Vault-AWS-IAM-Server-ID" (this host is `},
		"unknown role":    {func(o *vaultlogin.Options) { o.Role = "nobody" }, `auth method at auth/aws, role "nobody": Vault refuses the request (400): entry for role nobody not found (this host is `},
		"wrong mount":     {func(o *vaultlogin.Options) { o.Mount = "nowhere" }, `auth method at auth/nowhere, role "docker-host": Vault denies it (403): permission denied (is an auth method of type aws mounted at auth/nowhere? see vault.mount)`},
		"tampered body":   {alter("iam_request_body", "Action=GetCallerIdentity&Version=2011-06-16"), "SignatureDoesNotMatch"},
		"another action":  {alter("iam_request_body", "Action=GetSessionToken&Version=2011-06-15"), ": Vault refuses the request (400): iam request body is invalid (this host is "},
	} {
		t.Run(name, func(t *testing.T) {
			l := logIn(t, vaultclient.Config{Address: v.Address()}, refusal.change)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := l.Token(ctx)
			wantError(t, err, auth.ErrRefused, refusal.want)
		})
	}
}

// Renewals up to the max TTL, and then a login, before the token ends.
func TestRealVaultMaxTTL(t *testing.T) {
	c := newCloud(t)
	v := newRealVault(t, c, realvault.Options{})
	writeRole(t, v, "docker-host", "docker-host", 3*time.Second, 7*time.Second)
	l := logIn(t, vaultclient.Config{Address: v.Address()})
	until(t, "a second login after renewals", func() bool {
		l.reads(t, within(t, l.Source, 30*time.Second)) // never a token that has ended
		return requests(t, v, "auth/aws/login") >= 2 && requests(t, v, "auth/token/renew-self") >= 2
	})
	if l.log.lines("WARN", "")+l.log.lines("ERROR", "") > 0 {
		t.Errorf("trouble in the log:\n%s", l.log)
	}
}

func TestRealVaultOutage(t *testing.T) {
	c := newCloud(t)
	v := newRealVault(t, c, realvault.Options{})
	writeRole(t, v, "docker-host", "docker-host", 3*time.Second, 0)
	l := logIn(t, vaultclient.Config{Address: v.Address()})
	within(t, l.Source, 30*time.Second)

	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the token", func() bool { return !l.State().LoggedIn })
	wantError(t, l.State().Err, auth.ErrUnavailable, "Vault is sealed")
	if err := v.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.reads(t, within(t, l.Source, 30*time.Second))

	if err := v.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the token", func() bool { return !l.State().LoggedIn })
	wantError(t, l.State().Err, auth.ErrUnavailable, "Vault cannot be reached")
	if err := v.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.reads(t, within(t, l.Source, 30*time.Second))
}
