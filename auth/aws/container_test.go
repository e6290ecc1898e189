package aws_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

const (
	relativeURI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	fullURI     = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	token       = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
	tokenFile   = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
)

// task is a world whose host is a container of ECS on the instance.
type task struct {
	*world
	*awssim.TaskMetadata
	url string
}

func newTask(t *testing.T) *task {
	t.Helper()
	w := newWorld(t)
	w.account.AddRole("/tasks/", "docker-task")
	found := &task{world: w, TaskMetadata: awssim.NewTaskMetadata(w.account, awssim.Task{
		Region: "eu-west-1", AvailabilityZone: "eu-west-1b", Role: "docker-task", Authorization: "first token",
	})}
	found.url = serve(t, found.TaskMetadata)
	t.Setenv(fullURI, found.url+found.CredentialsPath())
	t.Setenv(token, "first token")
	return found
}

// The task's role, and not the instance's, is who the host is; a token file is
// read anew each time.
func TestTaskRole(t *testing.T) {
	found := newTask(t)
	file := filepath.Join(t.TempDir(), "token")
	for _, authorization := range []string{"first token", "second token", "third token"} {
		if authorization != "first token" {
			t.Setenv(tokenFile, file)
			if err := os.WriteFile(file, []byte(authorization+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found.SetAuthorization(authorization)
		found.Rotate()
		evidence, err := attest(t, aws.Options{}, "vault.internal")
		if err != nil {
			t.Fatal(err)
		}
		if want := "arn:aws:iam::111122223333:role/tasks/docker-task (role of this container)"; evidence.Principal != want {
			t.Errorf("the principal is %s, want %s", evidence.Principal, want)
		}
		if status, body := send(t, request(t, evidence)); status != http.StatusOK || !strings.Contains(body, ":assumed-role/docker-task/") {
			t.Errorf("STS answers %d: %s", status, body)
		}
	}
}

// Where the instance's metadata service cannot be reached, a task has its role
// all the same, but nobody to tell it the time.
func TestTaskWithoutMetadataService(t *testing.T) {
	newTask(t)
	for _, where := range []string{"http://" + closedPort(t), ""} {
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", where)
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		if where != "" {
			t.Setenv("AWS_EC2_METADATA_DISABLED", "")
		}
		if evidence, err := attest(t, aws.Options{}, ""); err != nil || strings.Contains(evidence.Remark, "clock") {
			t.Errorf("%v, %q", err, evidence.Remark)
		}
	}
}

// Each way in which there are no keys, with what the person reads; never the
// path, with which others on the host could get them.
func TestNoTaskRole(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(t *testing.T, found *task)
		kind    error
		want    []string
	}{
		"absent":       {func(t *testing.T, f *task) { t.Setenv(fullURI, "http://"+closedPort(t)+f.CredentialsPath()) }, auth.ErrNoIdentity, []string{"as " + fullURI + " says at http://127.0.0.1:", "nothing answers", "ECS agent running"}},
		"another host": {func(t *testing.T, f *task) { t.Setenv(fullURI, "http://10.0.0.1"+f.CredentialsPath()) }, auth.ErrNoIdentity, []string{"names 10.0.0.1 by http: without TLS keys are taken from this machine only"}},
		"a name":       {func(t *testing.T, f *task) { t.Setenv(fullURI, "http://metadata.internal"+f.CredentialsPath()) }, auth.ErrNoIdentity, []string{"names metadata.internal by http"}},
		"no URL":       {func(t *testing.T, f *task) { t.Setenv(fullURI, f.CredentialsPath()) }, auth.ErrNoIdentity, []string{fullURI + " is no URL"}},
		"no path":      {func(t *testing.T, f *task) { t.Setenv(relativeURI, strings.TrimPrefix(f.CredentialsPath(), "/")) }, auth.ErrNoIdentity, []string{relativeURI + " does not begin with a slash"}},
		"other task":   {func(t *testing.T, f *task) { t.Setenv(fullURI, f.url+f.CredentialsPath()+"0") }, auth.ErrNoIdentity, []string{"it answers 400, so it knows no such task: give the task a role (taskRoleArn)"}},
		"wrong token":  {func(t *testing.T, f *task) { t.Setenv(token, "stale") }, auth.ErrUnavailable, []string{"it answers 401: check " + token}},
		"no file":      {func(t *testing.T, f *task) { t.Setenv(tokenFile, "/nowhere/token") }, auth.ErrUnavailable, []string{"as " + tokenFile + " says: open /nowhere/token"}},
		"redirect": {func(t *testing.T, f *task) {
			f.Set("", cloudsim.Fault{Status: 302, Header: http.Header{"Location": {"/"}}})
		}, auth.ErrNoIdentity, []string{"something else answers there"}},
		"too large":  {func(t *testing.T, f *task) { f.Set("", cloudsim.Fault{Status: 200, Body: strings.Repeat(" ", 1<<20)}) }, auth.ErrNoIdentity, []string{"larger than 65536 bytes"}},
		"garbage":    {func(t *testing.T, f *task) { f.Set("", cloudsim.Fault{Status: 200, Body: `{"AccessKeyId`}) }, auth.ErrUnavailable, []string{"no usable answer"}},
		"empty":      {func(t *testing.T, f *task) { f.Set("", cloudsim.Fault{Status: 200, Body: `{}`}) }, auth.ErrUnavailable, []string{"no usable answer"}},
		"throttled":  {func(t *testing.T, f *task) { f.Set("", cloudsim.Fault{Status: 429}) }, auth.ErrUnavailable, []string{"it answers 429"}},
		"reset":      {func(t *testing.T, f *task) { f.Set("", cloudsim.Fault{Reset: true}) }, auth.ErrUnavailable, []string{"no usable answer"}},
		"slow":       {func(t *testing.T, f *task) { f.Set("", cloudsim.Fault{Delay: time.Minute}) }, auth.ErrUnavailable, []string{"did not answer in time"}},
		"role gone":  {func(t *testing.T, f *task) { f.account.RemoveRole("docker-task") }, auth.ErrUnavailable, []string{"it answers 500"}},
		"ended keys": {func(t *testing.T, f *task) { f.SetExpired(true) }, auth.ErrUnavailable, []string{"docker-task (role of this container) was given keys of its role that ended at"}},
	} {
		t.Run(name, func(t *testing.T) {
			found := newTask(t)
			c.arrange(t, found)
			_, err := attest(t, aws.Options{}, "vault.internal")
			if !errors.Is(err, c.kind) {
				t.Fatalf("%v is not %v", err, c.kind)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %s", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "/v2/credentials/") {
				t.Errorf("more than a line, or the path: %v", err)
			}
		})
	}
}

// What is no ARN is not repeated.
func TestTaskWhoseRoleHasNoName(t *testing.T) {
	found := newTask(t)
	for _, named := range []string{"", `"RoleArn": "a\nfalse line", `, `"RoleArn": 5, `} {
		found.Set(found.CredentialsPath(), cloudsim.Fault{Status: 200, Body: "{" + named + `
			"AccessKeyId": "ASIA", "SecretAccessKey": "secret", "Token": "token", "Expiration": "2100-01-01T00:00:00Z"}`})
		if evidence, err := attest(t, aws.Options{}, ""); err != nil || evidence.Principal != "the role of this container" {
			t.Errorf("%s: %q, %v", named, evidence.Principal, err)
		}
	}
}

// A task of another partition has no global STS, and so needs its region.
func TestTaskElsewhere(t *testing.T) {
	found := newTask(t)
	t.Setenv(own, "")
	found.Set(found.CredentialsPath(), cloudsim.Fault{Status: 200, Body: `{"RoleArn": "arn:aws-cn:iam::111122223333:role/docker-task",
		"AccessKeyId": "ASIA", "SecretAccessKey": "secret", "Token": "token", "Expiration": "2100-01-01T00:00:00Z"}`})
	t.Setenv("AWS_REGION", "cn-northwest-1")
	evidence, err := attest(t, aws.Options{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if url, region := signedFor(t, evidence); url != "https://sts.cn-northwest-1.amazonaws.com.cn/" || region != "cn-northwest-1" {
		t.Errorf("signed for %s in %s", url, region)
	}
}
