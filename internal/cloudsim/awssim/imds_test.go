package awssim_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// metadata is an instance's metadata service, and the official client for it.
func metadata(t *testing.T, c *clock) (*awssim.IMDS, *awssim.Account, string) {
	t.Helper()
	account := newAccount(c)
	account.AddRole("/", "docker-host")
	service := awssim.NewIMDS(account, awssim.Instance{ID: instanceID, Region: "eu-west-1", AvailabilityZone: "eu-west-1a", Role: "docker-host"})
	return service, account, start(t, service, cloudsim.Options{})
}

func sdk(url string) *imds.Client {
	return imds.New(imds.Options{Endpoint: url, HTTPClient: client(), EnableFallback: aws.FalseTernary, Retryer: aws.NopRetryer{}})
}

func retrieve(t *testing.T, url string) (aws.Credentials, error) {
	t.Helper()
	return ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = sdk(url) }).Retrieve(t.Context())
}

func TestOfficialClientReadsTheInstance(t *testing.T) {
	c := newClock()
	_, _, url := metadata(t, c)
	document, err := sdk(url).GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if document.AccountID != accountID || document.InstanceID != instanceID || document.Region != "eu-west-1" ||
		document.AvailabilityZone != "eu-west-1a" || !document.PendingTime.Equal(c.now()) {
		t.Errorf("%+v", document)
	}
	region, err := sdk(url).GetRegion(t.Context(), nil)
	if err != nil || region.Region != "eu-west-1" {
		t.Errorf("%+v, %v", region, err)
	}
	for path, want := range map[string]string{
		"instance-id": instanceID, "placement/availability-zone": "eu-west-1a", "placement/region": "eu-west-1",
		"placement/": "availability-zone\nregion", "iam/": "security-credentials/",
		"iam/security-credentials/": "docker-host",
	} {
		got, err := sdk(url).GetMetadata(t.Context(), &imds.GetMetadataInput{Path: path})
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		content, _ := io.ReadAll(got.Content)
		got.Content.Close()
		if string(content) != want {
			t.Errorf("%q: %q", path, content)
		}
	}
}

func TestRoleKeys(t *testing.T) {
	c := newClock()
	service, account, url := metadata(t, c)
	first, err := retrieve(t, url)
	if err != nil || !strings.HasPrefix(first.AccessKeyID, "ASIA") || first.SessionToken == "" || !first.Expires.Equal(c.now().Add(lifetime)) {
		t.Fatalf("%+v, %v", first, err)
	}
	c.move(4 * time.Hour)
	if same, err := retrieve(t, url); err != nil || same.AccessKeyID != first.AccessKeyID {
		t.Errorf("after 4 of 6 hours: %v, %v", same.AccessKeyID, err)
	}
	c.move(time.Hour + time.Second)
	second, err := retrieve(t, url)
	if err != nil || second.AccessKeyID == first.AccessKeyID {
		t.Errorf("after 5 of 6 hours: %v, %v", second.AccessKeyID, err)
	}
	service.Rotate()
	if third, err := retrieve(t, url); err != nil || third.AccessKeyID == second.AccessKeyID {
		t.Errorf("after a rotation: %v, %v", third.AccessKeyID, err)
	}
	service.SetExpired(true)
	dead, err := retrieve(t, url)
	if err != nil || dead.Expires.After(c.now()) {
		t.Errorf("expired: %v, %v", dead.Expires, err)
	}
	if again, err := retrieve(t, url); err != nil || again.AccessKeyID != dead.AccessKeyID {
		t.Errorf("expired keys were replaced: %v", err)
	}
	service.SetExpired(false)
	service.SetLifetime(time.Minute)
	if short, err := retrieve(t, url); err != nil || !short.Expires.Equal(c.now().Add(time.Minute)) {
		t.Errorf("short: %v, %v", short.Expires, err)
	}
	account.RemoveRole("docker-host")
	service.Rotate()
	if _, err := retrieve(t, url); err == nil || !strings.Contains(err.Error(), "AssumeRoleUnauthorizedAccess") {
		t.Errorf("a role that does not exist: %v", err)
	}
	service.SetRole("")
	if _, err := retrieve(t, url); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("no role: %v", err)
	}
}

// raw asks without the official client.
func raw(t *testing.T, method, url string, headers ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return do(t, request)
}

const (
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
	tokenHeader = "X-aws-ec2-metadata-token"
)

func TestSessions(t *testing.T) {
	c := newClock()
	_, _, url := metadata(t, c)
	for ttl, want := range map[string]int{"": 400, "0": 400, "21601": 400, "-1": 400, "1h": 400, "1": 200, "21600": 200} {
		if got, _, _ := raw(t, "PUT", url+"/latest/api/token", ttlHeader, ttl); got != want {
			t.Errorf("TTL %q: %d", ttl, got)
		}
	}
	if got, _, _ := raw(t, "PUT", url+"/latest/api/token", ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"); got != 403 {
		t.Errorf("a forwarded PUT: %d", got)
	}
	if got, _, _ := raw(t, "GET", url+"/latest/api/token"); got != 405 {
		t.Errorf("GET for a token: %d", got)
	}
	if got, _, _ := raw(t, "PUT", url+"/latest/meta-data/"); got != 405 {
		t.Errorf("PUT of metadata: %d", got)
	}
	_, header, token := raw(t, "PUT", url+"/latest/api/token", ttlHeader, "60")
	if header.Get(ttlHeader) != "60" || header.Get("Content-Type") != "text/plain" {
		t.Errorf("%v", header)
	}
	id := url + "/latest/meta-data/instance-id"
	c.move(20 * time.Second)
	if got, header, body := raw(t, "GET", id, tokenHeader, token); got != 200 || body != instanceID || header.Get(ttlHeader) != "40" {
		t.Errorf("%d %q %v", got, body, header)
	}
	for name, token := range map[string]string{"none": "", "another": token + "x"} {
		if got, _, _ := raw(t, "GET", id, tokenHeader, token); got != 401 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got, _, _ := raw(t, "GET", url+"/latest/meta-data/nothing", tokenHeader, token); got != 404 {
		t.Errorf("nothing: %d", got)
	}
	c.move(40 * time.Second)
	if got, _, _ := raw(t, "GET", id, tokenHeader, token); got != 401 {
		t.Errorf("after its end: %d", got)
	}
}

func TestModes(t *testing.T) {
	service, _, url := metadata(t, newClock())
	token := func() int {
		status, _, _ := raw(t, "PUT", url+"/latest/api/token", ttlHeader, "60")
		return status
	}
	read := func(headers ...string) int {
		status, _, _ := raw(t, "GET", url+"/latest/meta-data/instance-id", headers...)
		return status
	}
	service.SetMode(awssim.TokensOptional)
	if got := []int{token(), read(), read(tokenHeader, "x")}; got[0] != 200 || got[1] != 200 || got[2] != 401 {
		t.Errorf("tokens optional: %v", got)
	}
	service.SetMode(awssim.NoTokens)
	if got := []int{token(), read()}; got[0] != 404 || got[1] != 200 {
		t.Errorf("no tokens: %v", got)
	}
	if _, err := sdk(url).GetRegion(t.Context(), nil); err == nil {
		t.Error("a client that insists on version 2 was served")
	}
	service.SetMode(awssim.TokensRequired)
	for want, fault := range map[int]cloudsim.Fault{403: awssim.TurnedOff, 404: awssim.Absent, 503: awssim.Throttled} {
		service.Set("", fault)
		if got := token(); got != want {
			t.Errorf("%d instead of %d", got, want)
		}
	}
	service.Clear("")
	if got := token(); got != 200 {
		t.Errorf("after all faults: %d", got)
	}
	if n := service.Count("PUT", "/latest/api/token"); n < 6 {
		t.Errorf("counted %d", n)
	}
}
