package vaultsim_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

const (
	stsURL      = "https://sts.amazonaws.com/" // what clients sign for, wherever Vault sends it
	callerQuery = "Action=GetCallerIdentity&Version=2011-06-15"
	serverID    = "vault.internal"
	accountID   = "123456789012"
	instanceID  = "i-0123456789abcdef0"
)

// loginBody is the body of a login, signed with keys at a time by the official
// signer. edit, which may be nil, changes the request before it is signed.
func loginBody(t *testing.T, role string, keys awssim.Keys, at time.Time, edit func(*http.Request)) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, stsURL, strings.NewReader(callerQuery))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Vault-AWS-IAM-Server-ID", serverID)
	if edit != nil {
		edit(r)
	}
	sum := sha256.Sum256([]byte(callerQuery))
	signing := aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), signing, r, hex.EncodeToString(sum[:]), "sts", "us-east-1", at); err != nil {
		t.Fatal(err)
	}
	headers := map[string]any{}
	for name, values := range r.Header {
		list := make([]any, len(values))
		for i, value := range values {
			list[i] = value
		}
		headers[name] = list
	}
	return map[string]any{
		"role": role, "iam_http_request_method": "POST",
		"iam_request_url":     base64.StdEncoding.EncodeToString([]byte(stsURL)),
		"iam_request_body":    base64.StdEncoding.EncodeToString([]byte(callerQuery)),
		"iam_request_headers": headers,
	}
}

// sessionKeys are keys of a role as an instance has them.
func sessionKeys(t *testing.T, account *awssim.Account, role string) awssim.Keys {
	t.Helper()
	keys, err := account.AssumeRole(role, instanceID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// packings are the forms in which Vault takes a login's headers.
var packings = map[string]func(*testing.T, any) any{
	"object": func(_ *testing.T, headers any) any { return headers },
	"object of single values": func(_ *testing.T, headers any) any {
		single := map[string]any{}
		for name, values := range headers.(map[string]any) {
			single[name] = values.([]any)[0]
		}
		return single
	},
	"JSON": func(t *testing.T, headers any) any { return asJSON(t, headers) },
	"JSON in base64": func(t *testing.T, headers any) any {
		return base64.StdEncoding.EncodeToString([]byte(asJSON(t, headers)))
	},
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
