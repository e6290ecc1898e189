package awssim_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

// jsonRequest asks a JSON service, signed for a region and a service.
func jsonRequest(t *testing.T, url, target, body string, keys awssim.Keys, s scope) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", target)
	sign(t, request, body, keys, s)
	return request
}

// readers is an account whose role docker-host may read what begins with shop,
// with both stores behind one address for two regions.
func readers(t *testing.T) (account *awssim.Account, secrets, central *awssim.SecretsManager, url string) {
	account = newAccount(nil)
	account.AddRole("/", "docker-host")
	permissions := &awssim.Permissions{}
	permissions.Allow(account.RoleARN("docker-host"), "secretsmanager:Get*", "*:secret:shop/*")
	secrets = awssim.NewSecretsManager(account, "eu-west-1", permissions)
	central = awssim.NewSecretsManager(account, "eu-central-1", permissions)
	url = start(t, awssim.Regions{"eu-west-1": secrets, "eu-central-1": central}, cloudsim.Options{})
	return account, secrets, central, url
}

func TestJSONServiceRefuses(t *testing.T) {
	account, secrets, _, url := readers(t)
	secrets.PutText("shop/db", "one")
	keys, err := account.AssumeRole("docker-host", instanceID, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := account.AssumeRole("docker-host", instanceID, -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	const get, body = "secretsmanager.GetSecretValue", `{"SecretId":"shop/db"}`
	right := scope{"secretsmanager", "eu-west-1", time.Now()}
	tampered := jsonRequest(t, url, get, body, keys, right)
	tampered.Header.Set("X-Amz-Target", "secretsmanager.DescribeSecret")
	unsigned := jsonRequest(t, url, get, body, keys, right)
	unsigned.Header.Set("Authorization", strings.Replace(unsigned.Header.Get("Authorization"), "Signature=", "Signature=0", 1))
	for want, request := range map[string]*http.Request{
		`"SecretString":"one"`:        jsonRequest(t, url, get, body, keys, right),
		"InvalidSignatureException":   tampered,
		"does not match":              unsigned,
		"ExpiredTokenException":       jsonRequest(t, url, get, body, expired, right),
		"UnrecognizedClientException": jsonRequest(t, url, get, body, awssim.Keys{AccessKeyID: "ASIAX", SecretAccessKey: "x"}, right),
		"correct service":             jsonRequest(t, url, get, body, keys, scope{"ssm", "eu-west-1", time.Now()}),
		"no such region":              jsonRequest(t, url, get, body, keys, scope{"secretsmanager", "us-east-1", time.Now()}),
		"ResourceNotFoundException":   jsonRequest(t, url, get, `{"SecretId":"shop/none"}`, keys, right),
		"can't find the specified":    jsonRequest(t, url, get, body, keys, scope{"secretsmanager", "eu-central-1", time.Now()}),
		"AccessDeniedException":       jsonRequest(t, url, get, `{"SecretId":"other"}`, keys, right),
		"UnknownOperationException":   jsonRequest(t, url, "secretsmanager.PutSecretValue", body, keys, right),
		"SerializationException":      jsonRequest(t, url, get, `{"SecretID2":"x"}`, keys, right),
	} {
		status, _, answer := do(t, request)
		if !strings.Contains(answer, want) || (status == http.StatusOK) != strings.Contains(want, "SecretString") {
			t.Errorf("%s: %d %s", want, status, answer)
		}
	}
	if n := secrets.Reads(); n != 8 {
		t.Errorf("%d reads were counted", n)
	}
}

func TestFaultsOfOneOperation(t *testing.T) {
	account, secrets, _, url := readers(t)
	secrets.PutText("shop/db", "one")
	keys, err := account.AssumeRole("docker-host", instanceID, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	secrets.Set("GetSecretValue", awssim.JSONThrottled)
	secrets.Set("Batch", awssim.JSONFailing)
	right := scope{"secretsmanager", "eu-west-1", time.Now()}
	for operation, want := range map[string]string{
		"GetSecretValue": "ThrottlingException", "BatchGetSecretValue": "InternalServiceError", "DescribeSecret": "AccessDeniedException",
	} {
		_, _, answer := do(t, jsonRequest(t, url, "secretsmanager."+operation, `{"SecretId":"shop/db"}`, keys, right))
		var refused struct {
			Type string `json:"__type"`
		}
		if err := json.Unmarshal([]byte(answer), &refused); err != nil || refused.Type != want {
			t.Errorf("%s: %s, %v", operation, answer, err)
		}
	}
}
