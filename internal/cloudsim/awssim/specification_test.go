package awssim

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// TestExampleOfTheSpecification verifies the signed request that AWS's own
// documentation of Signature Version 4 works out step by step.
func TestExampleOfTheSpecification(t *testing.T) {
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	account := NewAccount("123456789012", cloudsim.NewEnvironment(func() time.Time { return at }, nil))
	account.AddUser("/", "example")
	keys := Keys{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	if err := account.AddUserKeys("example", keys); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "+
		"SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
	if _, err := account.verify(r, nil, "iam", "us-east-1"); err != nil {
		t.Error(err)
	}
	canonical := canonicalRequest(r, nil, []string{"content-type", "host", "x-amz-date"})
	if got := hexSHA256([]byte(canonical)); got != "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59" {
		t.Errorf("hash %s of\n%s", got, canonical)
	}
}

func TestCanonicalParts(t *testing.T) {
	for target, want := range map[string]string{
		"/": "/", "//": "/", "/a//b/../c/": "/a/c/", "/%20": "/%2520", "/a b": "/a%2520b",
	} {
		r := &http.Request{}
		r.URL = httptest.NewRequest(http.MethodGet, "http://h/", nil).URL
		r.URL.Path, r.URL.RawPath = target, ""
		if target == "/%20" {
			r.URL.Path = "/ "
		}
		if got := canonicalPath(r.URL); got != want {
			t.Errorf("path %q: %q", target, got)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "http://h/?b=2&a=%2F+%7E&a=1&c", nil)
	if got, want := canonicalQuery(r.URL.Query()), "a=%2F%20~&a=1&b=2&c="; got != want {
		t.Errorf("query %q", got)
	}
	r.Header["X-Two"] = []string{" a   b ", "c"}
	if got, want := canonicalHeaders(r, []string{"host", "x-none", "x-two"}), "host:h\nx-none:\nx-two:a b,c\n"; got != want {
		t.Errorf("headers %q", got)
	}
}
