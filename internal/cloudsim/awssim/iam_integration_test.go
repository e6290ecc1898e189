//go:build integration

package awssim_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
	"github.com/quaymaster/quaymaster/test/realvault"
)

// TestRealVaultResolvesUniqueIDs: Vault looks a principal up in IAM when a role
// is bound to it by unique ID, so a principal that was replaced by one of the
// same name is another.
func TestRealVaultResolvesUniqueIDs(t *testing.T) {
	account := newAccount(nil)
	account.AddRole("/teams/", "docker-host")
	account.AddUser("/", "vault")
	keys, err := account.UserKeys("vault")
	if err != nil {
		t.Fatal(err)
	}
	sts, iam := start(t, awssim.NewSTS(account, "us-east-1"), cloudsim.Options{}), start(t, awssim.NewIAM(account), cloudsim.Options{})
	v := realvault.ForTest(t, realvault.Options{})
	auth := realvault.AWSAuth{Mount: "aws", STS: sts, IAM: iam, AccessKey: keys.AccessKeyID, SecretKey: keys.SecretAccessKey}
	if err := v.EnableAWS(t.Context(), auth); err != nil {
		t.Fatal(err)
	}
	for name, principal := range map[string]string{
		"bound": "arn:aws:iam::" + accountID + ":role/teams/docker-host",
		"wild":  "arn:aws:iam::" + accountID + ":role/teams/*",
		"user":  "arn:aws:iam::" + accountID + ":user/vault",
	} {
		role := realvault.IAMRole{Mount: "aws", Name: name, Principal: principal, ResolveUniqueIDs: true}
		if err := v.WriteIAMRole(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	login := func(role string) error {
		signer := keys
		if role != "user" {
			if signer, err = account.AssumeRole("docker-host", instanceID, lifetime); err != nil {
				t.Fatal(err)
			}
		}
		_, err := v.Client().Logical().WriteWithContext(t.Context(), "auth/aws/login", loginBody(t, role, signer))
		return err
	}
	for _, role := range []string{"bound", "wild", "user"} {
		if err := login(role); err != nil {
			t.Errorf("login to %s: %v", role, err)
		}
	}
	account.AddRole("/teams/", "docker-host")
	if err := login("bound"); err == nil || !strings.Contains(err.Error(), "does not belong to the role") {
		t.Errorf("a role of the same name and another unique ID: %v", err)
	}
}
