package awssim_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

func TestIAM(t *testing.T) {
	c := newClock()
	account := newAccount(c)
	account.AddRole("/teams/shop/", "docker-host")
	account.AddUser("/", "vault")
	keys := awssim.Keys{AccessKeyID: "AKIAVAULT", SecretAccessKey: "of its own"}
	if err := account.AddUserKeys("vault", keys); err != nil {
		t.Fatal(err)
	}
	if err := account.AddUserKeys("nobody", keys); err == nil {
		t.Error("nobody got keys")
	}
	url := start(t, awssim.NewIAM(account), cloudsim.Options{})
	right := scope{"iam", "us-east-1", c.now()}
	for form, want := range map[string]string{
		"Action=GetRole&RoleName=docker-host&Version=2010-05-08": "<Arn>arn:aws:iam::" + accountID + ":role/teams/shop/docker-host</Arn>",
		"Action=GetUser&UserName=vault&Version=2010-05-08":       "<UserId>AIDA",
		"Action=GetUser&Version=2010-05-08":                      "<UserName>vault</UserName>",
		"Action=GetRole&RoleName=none&Version=2010-05-08":        "<Code>NoSuchEntity</Code>",
		"Action=GetUser&UserName=none&Version=2010-05-08":        "<Code>NoSuchEntity</Code>",
	} {
		status, _, body := do(t, signed(t, url, form, keys, right))
		if !strings.Contains(body, want) || (status == 404) != strings.Contains(want, "NoSuchEntity") {
			t.Errorf("%s: %d %s", form, status, body)
		}
	}
	_, _, body := do(t, signed(t, url, "Action=GetUser&Version=2010-05-08", keys, scope{"sts", "us-east-1", c.now()}))
	if !strings.Contains(body, "correct service: &#39;iam&#39;") {
		t.Error(body)
	}
}
