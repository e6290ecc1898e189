package awssim_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

func TestTaskMetadata(t *testing.T) {
	c := newClock()
	account := newAccount(c)
	account.AddRole("/tasks/", "docker-task")
	service := awssim.NewTaskMetadata(account, awssim.Task{Region: "eu-west-1", AvailabilityZone: "eu-west-1a", Role: "docker-task"})
	url := start(t, service, cloudsim.Options{})
	keys := func(authorization string) (aws.Credentials, error) {
		return endpointcreds.New(url+service.CredentialsPath(), func(o *endpointcreds.Options) {
			o.HTTPClient, o.Retryer, o.AuthorizationToken = client(), aws.NopRetryer{}, authorization
		}).Retrieve(t.Context())
	}
	first, err := keys("")
	if err != nil || !first.Expires.Equal(c.now().Add(lifetime)) {
		t.Fatalf("%v, %v", first.Expires, err)
	}
	if status, _, body := do(t, signed(t, start(t, awssim.NewSTS(account, "us-east-1"), cloudsim.Options{}), callerQuery,
		awssim.Keys{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey, SessionToken: first.SessionToken},
		scope{"sts", "us-east-1", c.now()})); status != 200 || !strings.Contains(body, ":assumed-role/docker-task/") {
		t.Errorf("%d %s", status, body)
	}
	service.Rotate()
	if second, err := keys(""); err != nil || second.AccessKeyID == first.AccessKeyID {
		t.Errorf("after a rotation: %v", err)
	}
	service.SetExpired(true)
	if dead, err := keys(""); err != nil || dead.Expires.After(c.now()) {
		t.Errorf("expired: %v, %v", dead.Expires, err)
	}
	service.SetExpired(false)
	service.SetAuthorization("of the agent")
	if _, err := keys("another"); err == nil || !strings.Contains(err.Error(), "AccessDeniedException") {
		t.Errorf("another authorization: %v", err)
	}
	if _, err := keys("of the agent"); err != nil {
		t.Errorf("the right authorization: %v", err)
	}
	if status, _, body := raw(t, "GET", url+service.MetadataPath()+"/task"); status != 200 || !strings.Contains(body, `"TaskARN": "`+service.ARN()+`"`) {
		t.Errorf("the task: %d %s", status, body)
	}
	if status, _, _ := raw(t, "GET", url+"/v2/credentials/other"); status != 400 {
		t.Errorf("another task: %d", status)
	}
	account.RemoveRole("docker-task")
	if _, err := keys("of the agent"); err == nil {
		t.Error("a role that is gone")
	}
}

// What can go wrong in the middle of something, and with the time.
func TestMetadataSwitches(t *testing.T) {
	c := newClock()
	service, account, url := metadata(t, c)
	account.AddRole("/", "successor")
	_, _, session := raw(t, "PUT", url+"/latest/api/token", ttlHeader, "60")
	read := func(path string) (int, http.Header, string) {
		return raw(t, "GET", url+"/latest/meta-data/"+path, tokenHeader, session)
	}
	service.ReplaceRole("successor")
	for _, want := range []string{"docker-host", "successor", "successor"} {
		if _, _, name := read("iam/security-credentials/"); name != want {
			t.Errorf("the role is %s, not %s", name, want)
		}
		if status, _, _ := read("iam/security-credentials/docker-host"); status != 404 {
			t.Errorf("the role that was replaced: %d", status)
		}
	}
	for by, want := range map[time.Duration]string{0: "Sun, 01 Mar 2026 12:00:00 GMT", -time.Hour: "Sun, 01 Mar 2026 11:00:00 GMT"} {
		service.SetSkew(by)
		if _, header, _ := read("instance-id"); header.Get("Date") != want {
			t.Errorf("%s: the date is %s", by, header.Get("Date"))
		}
	}
	service.SetUndated(true)
	if _, header, _ := read("instance-id"); header.Get("Date") != "" {
		t.Errorf("the date is %s", header.Get("Date"))
	}
	service.Set(awssim.TokenPath, awssim.TooFar)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url+awssim.TokenPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client().Do(request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the hop limit: %v", err)
	}
	if status, _, _ := read("instance-id"); status != 200 {
		t.Errorf("with a session, beyond the hop limit of sessions: %d", status)
	}
}
