package aws_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/aws"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// caller asks STS who the host is, with the official client and the host's
// credentials.
func caller(t *testing.T, w *world) (string, error) {
	t.Helper()
	credentials, err := aws.HostCredentials()
	if err != nil {
		t.Fatal(err)
	}
	client := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: &w.sts, Credentials: credentials,
		HTTPClient: &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}})
	who, err := client.GetCallerIdentity(t.Context(), nil)
	if err != nil {
		return "", err
	}
	return *who.Arn, nil
}

// The host's credentials come from the same sources as evidence, and from no
// other.
func TestHostCredentials(t *testing.T) {
	found := newTask(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIASTATIC")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "static")
	if who, err := caller(t, found.world); err != nil || !strings.Contains(who, ":assumed-role/docker-task/") {
		t.Errorf("in a task: %s, %v", who, err)
	}
	t.Setenv(fullURI, "")
	if who, err := caller(t, found.world); err != nil || !strings.Contains(who, ":assumed-role/docker-host/i-0123456789abcdef0") {
		t.Errorf("on the instance: %s, %v", who, err)
	}
	found.imds.SetRole("")
	if _, err := caller(t, found.world); !errors.Is(err, auth.ErrNoIdentity) {
		t.Errorf("static keys were used, or another error: %v", err)
	}
	t.Setenv(fullURI, "nonsense")
	if _, err := aws.HostCredentials(); !errors.Is(err, auth.ErrNoIdentity) || !strings.Contains(err.Error(), fullURI) {
		t.Errorf("%v", err)
	}
}

// They are asked for once in an hour, and outlive a metadata service that fails.
func TestHostCredentialsAreHeld(t *testing.T) {
	w := newWorld(t)
	credentials, err := aws.HostCredentials()
	if err != nil {
		t.Fatal(err)
	}
	first, err := credentials.Retrieve(t.Context())
	if left := time.Until(first.Expires); err != nil || left > time.Hour || left < 50*time.Minute {
		t.Fatalf("held for %s, %v", left, err)
	}
	w.imds.Rotate()
	for range 10 {
		if again, err := credentials.Retrieve(t.Context()); err != nil || again.AccessKeyID != first.AccessKeyID {
			t.Errorf("not the held ones: %v", err)
		}
	}
	if n := w.imds.Count("GET", "/latest/meta-data/iam/security-credentials/docker-host"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	credentials.Invalidate()
	w.imds.SetLifetime(2 * time.Minute) // less than the SDK wants to have left: asked for each time
	short, err := credentials.Retrieve(t.Context())
	if err != nil || short.AccessKeyID == first.AccessKeyID {
		t.Errorf("not the rotated ones: %v", err)
	}
	w.imds.Set("", awssim.Throttled)
	if again, err := credentials.Retrieve(t.Context()); err != nil || again.AccessKeyID != short.AccessKeyID {
		t.Errorf("while the metadata service fails: %v", err)
	}
}

func TestHostRegion(t *testing.T) {
	found := newTask(t)
	region := func(want string, kind error) {
		t.Helper()
		got, err := aws.HostRegion(t.Context())
		if kind == nil && (got != want || err != nil) {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
		if kind != nil && (!errors.Is(err, kind) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	region("eu-west-1", nil) // of the instance
	elsewhere := awssim.NewTaskMetadata(found.account, awssim.Task{Region: "eu-north-1", Role: "docker-task"})
	t.Setenv("ECS_CONTAINER_METADATA_URI_V4", serve(t, elsewhere)+elsewhere.MetadataPath())
	region("eu-north-1", nil)
	t.Setenv("AWS_DEFAULT_REGION", "eu-south-1")
	region("eu-south-1", nil)
	t.Setenv("AWS_REGION", "us-west-2")
	region("us-west-2", nil)
	t.Setenv("AWS_REGION", "Oregon")
	region(`AWS_REGION "Oregon"`, auth.ErrNoIdentity)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	elsewhere.Set("", awssim.Throttled)
	region("it answers 503, and no task", auth.ErrUnavailable)
	t.Setenv("ECS_CONTAINER_METADATA_URI_V4", "")
	found.imds.Set("", awssim.TurnedOff)
	region("turned off for this instance", auth.ErrNoIdentity)
}
