package vaultsim_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/vaultsim"
)

func TestLogin(t *testing.T) {
	w := newWorld(t)
	secret, client := w.login(t, "docker-host")
	if a := secret.Auth; a.LeaseDuration != 600 || !a.Renewable || !strings.HasPrefix(a.ClientToken, "hvs.") || a.Accessor == "" ||
		a.Metadata["canonical_arn"] != "arn:aws:iam::"+accountID+":role/docker-host" ||
		a.Metadata["client_arn"] != "arn:aws:sts::"+accountID+":assumed-role/docker-host/"+instanceID {
		t.Errorf("%+v", a)
	}
	found, err := client.Auth().Token().LookupSelfWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found.Data["display_name"] != "aws-docker-host/"+instanceID || found.Data["accessor"] != secret.Auth.Accessor {
		t.Errorf("%v", found.Data)
	}
	if n := w.vault.Count("update", "auth/aws/login"); n != 1 {
		t.Errorf("counted %d logins", n)
	}
	if n := w.sts.Count("GetCallerIdentity", ""); n != 1 {
		t.Errorf("STS was asked %d times", n)
	}
}

func TestLoginsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.account.AddRole("/", "docker-host-2")
	w.account.AddUser("/", "admin")
	keys := sessionKeys(t, w.account, "docker-host")
	expired, err := w.account.AssumeRole("docker-host", instanceID, -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := w.account.UserKeys("admin")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		body map[string]any
		says string
	}{
		"another role":    {loginBody(t, "docker-host", sessionKeys(t, w.account, "docker-host-2"), w.now(), nil), "does not belong to the role"},
		"a user":          {loginBody(t, "docker-host", admin, w.now(), nil), "does not belong to the role"},
		"expired keys":    {loginBody(t, "docker-host", expired, w.now(), nil), "ExpiredToken"},
		"a replay":        {loginBody(t, "docker-host", keys, w.now().Add(-20*time.Minute), nil), "Signature expired"},
		"no such role":    {loginBody(t, "nobody", keys, w.now(), nil), "entry for role nobody not found"},
		"no server ID":    {loginBody(t, "docker-host", keys, w.now(), func(r *http.Request) { r.Header.Del("X-Vault-AWS-IAM-Server-ID") }), "missing header"},
		"wrong server ID": {loginBody(t, "docker-host", keys, w.now(), func(r *http.Request) { r.Header.Set("X-Vault-AWS-IAM-Server-ID", "evil") }), `expected "vault.internal" but got "evil"`},
		"unsigned server ID": {func() map[string]any {
			body := loginBody(t, "docker-host", keys, w.now(), func(r *http.Request) { r.Header.Del("X-Vault-AWS-IAM-Server-ID") })
			body["iam_request_headers"].(map[string]any)["X-Vault-AWS-IAM-Server-ID"] = serverID
			return body
		}(), "wasn't signed"},
	} {
		_, err := w.client(t, "").Logical().WriteWithContext(t.Context(), "auth/aws/login", test.body)
		if status(err) != 400 || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSTSFailsDuringLogin(t *testing.T) {
	w := newWorld(t)
	for name, fault := range map[string]cloudsim.Fault{
		"cut":     {Reset: true},
		"failing": {Status: 503, Body: "<html/>"},
	} {
		w.sts.Set("", fault)
		body := loginBody(t, "docker-host", sessionKeys(t, w.account, "docker-host"), w.now(), nil)
		_, err := w.client(t, "").Logical().WriteWithContext(t.Context(), "auth/aws/login", body)
		if status(err) != 400 || !strings.Contains(err.Error(), "error making upstream request") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSlowSTSHoldsUpNobodyElse would not end if it did.
func TestSlowSTSHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.sts.Set("", cloudsim.Fault{Delay: time.Hour})
	body := loginBody(t, "docker-host", sessionKeys(t, w.account, "docker-host"), w.now(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := w.client(t, "").Logical().WriteWithContext(ctx, "auth/aws/login", body)
		failed <- err
	}()
	for w.sts.Count("", "") == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := w.client(t, w.vault.RootToken()).Logical().ReadWithContext(t.Context(), "kv/data/shop/db"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-failed; err == nil {
		t.Error("the login was answered")
	}
}

func TestWildcardPrincipal(t *testing.T) {
	w := newWorld(t)
	w.putRole(t, vaultsim.IAMRole{Name: "any", Principal: "arn:aws:iam::" + accountID + ":role/docker-*"})
	secret, _ := w.login(t, "any")
	if secret.Auth.LeaseDuration != 768*3600 {
		t.Errorf("a role without terms: %d", secret.Auth.LeaseDuration)
	}
}

func TestHeadersInEveryForm(t *testing.T) {
	w := newWorld(t)
	keys := sessionKeys(t, w.account, "docker-host")
	for name, pack := range packings {
		body := loginBody(t, "docker-host", keys, w.now(), nil)
		body["iam_request_headers"] = pack(t, body["iam_request_headers"])
		if _, err := w.client(t, "").Logical().WriteWithContext(t.Context(), "auth/aws/login", body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoleNeedsMountAndSoundTerms(t *testing.T) {
	w := newWorld(t)
	if err := w.vault.PutRole(vaultsim.IAMRole{Mount: "nowhere", Name: "r"}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("%v", err)
	}
	if err := w.vault.PutRole(vaultsim.IAMRole{Mount: "aws", Name: "r", TTL: time.Hour, MaxTTL: time.Minute}); err == nil {
		t.Error("a TTL above the maximum was accepted")
	}
}
