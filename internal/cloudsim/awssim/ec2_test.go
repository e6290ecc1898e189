package awssim_test

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

func TestDescribeInstances(t *testing.T) {
	c := newClock()
	service, account, _ := metadata(t, c)
	account.AddUser("/", "vault")
	keys, err := account.UserKeys("vault")
	if err != nil {
		t.Fatal(err)
	}
	ec2 := awssim.NewEC2(account, "eu-west-1")
	url := start(t, ec2, cloudsim.Options{})
	right := scope{"ec2", "eu-west-1", c.now()}
	describe := func(id string, s scope, status int, wants ...string) {
		t.Helper()
		got, _, body := do(t, signed(t, url, "Action=DescribeInstances&InstanceId.1="+id+"&Version=2016-11-15", keys, s))
		if got != status {
			t.Errorf("%s: %d %s", id, got, body)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in %s", id, want, body)
			}
		}
	}
	describe(instanceID, right, 200, `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>`,
		"<reservationSet><item><instancesSet><item><instanceId>"+instanceID, "<instanceState><name>running<", "<imageId>"+awssim.ImageID, "<vpcId>"+awssim.VPC,
		"<subnetId>"+awssim.Subnet, "<privateDnsName>ip-10-0-0-10.eu-west-1.compute.internal<", "<launchTime>2026-03-01T12:00:00Z<",
		"<iamInstanceProfile><arn>arn:aws:iam::"+accountID+":instance-profile/docker-host<")
	service.SetState("terminated")
	describe(instanceID, right, 200, "<instanceState><name>terminated<")
	describe("i-0000000000000000f", right, 400, "<Response><Errors><Error><Code>InvalidInstanceID.NotFound<")
	describe("docker-task", right, 400, "<Code>InvalidInstanceID.Malformed<")
	describe(instanceID, scope{"ec2", "eu-west-2", c.now()}, 403, "<Code>SignatureDoesNotMatch<")
	other := start(t, awssim.NewEC2(account, "eu-west-2"), cloudsim.Options{})
	_, _, body := do(t, signed(t, other, "Action=DescribeInstances&InstanceId.1="+instanceID+"&Version=2016-11-15", keys, scope{"ec2", "eu-west-2", c.now()}))
	if !strings.Contains(body, "InvalidInstanceID.NotFound") {
		t.Errorf("an instance of another region: %s", body)
	}
}

// The real STS is one for all accounts.
func TestCallersOfOtherAccounts(t *testing.T) {
	c := newClock()
	account, other := newAccount(c), awssim.NewAccount("999988887777", cloudsim.NewEnvironment(c.now, nil))
	other.AddRole("/", "docker-host")
	keys, err := other.AssumeRole("docker-host", instanceID, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	right := scope{"sts", "us-east-1", c.now()}
	if status, _, body := do(t, signed(t, start(t, awssim.NewSTS(account, "us-east-1", other), cloudsim.Options{}), callerQuery, keys, right)); status != 200 ||
		!strings.Contains(body, "<Account>999988887777</Account>") {
		t.Errorf("%d %s", status, body)
	}
	wantRefusal(t, signed(t, start(t, awssim.NewSTS(account, "us-east-1"), cloudsim.Options{}), callerQuery, keys, right), 403, "InvalidClientTokenId", "")
}

func TestInstanceProfile(t *testing.T) {
	c := newClock()
	account := newAccount(c)
	account.AddRole("/teams/", "docker-host")
	account.AddUser("/", "vault")
	keys, err := account.UserKeys("vault")
	if err != nil {
		t.Fatal(err)
	}
	url := start(t, awssim.NewIAM(account), cloudsim.Options{})
	for name, want := range map[string]string{
		"docker-host": "<Roles><member><RoleName>docker-host</RoleName><Arn>arn:aws:iam::" + accountID + ":role/teams/docker-host<",
		"none":        "<Message>Instance Profile none cannot be found.<",
	} {
		_, _, body := do(t, signed(t, url, "Action=GetInstanceProfile&InstanceProfileName="+name+"&Version=2010-05-08", keys, scope{"iam", "us-east-1", c.now()}))
		if !strings.Contains(body, want) {
			t.Errorf("%s: %s", name, body)
		}
	}
}
