package awssim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
	"github.com/quaymaster/quaymaster/internal/cloudsim/awssim"
)

func TestKMS(t *testing.T) {
	account := newAccount(nil)
	account.AddRole("/", "docker-host")
	permissions := &awssim.Permissions{}
	service := awssim.NewKMS(account, "eu-west-1", permissions)
	key, other := service.AddKey("alias/boot"), service.AddKey("")
	permissions.Allow(account.RoleARN("docker-host"), "kms:Decrypt", "*")
	permissions.Allow(account.RoleARN("docker-host"), "kms:Encrypt", key)
	url := start(t, service, cloudsim.Options{})
	keys, err := account.AssumeRole("docker-host", instanceID, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(operation, body string) (int, string) {
		status, _, answer := do(t, jsonRequest(t, url, "TrentService."+operation, body, keys, scope{"kms", "eu-west-1", time.Now()}))
		return status, answer
	}
	_, answer := ask("Encrypt", `{"KeyId":"alias/boot","Plaintext":"c2VjcmV0","EncryptionContext":{"host":"a","for":"b"}}`)
	var sealed struct {
		KeyID          string `json:"KeyId"`
		CiphertextBlob string
	}
	if err := json.Unmarshal([]byte(answer), &sealed); err != nil || sealed.KeyID != key {
		t.Fatalf("%s, %v", answer, err)
	}
	decrypt := func(blob, rest string) string { return fmt.Sprintf(`{"CiphertextBlob":%q%s}`, blob, rest) }
	const context = `,"EncryptionContext":{"for":"b","host":"a"}`
	for _, test := range []struct{ operation, body, want string }{
		{"Decrypt", decrypt(sealed.CiphertextBlob, context), `"Plaintext":"c2VjcmV0"`},
		{"Decrypt", decrypt(sealed.CiphertextBlob, context+`,"KeyId":"`+key+`"`), `"Plaintext":"c2VjcmV0"`},
		{"Decrypt", decrypt(sealed.CiphertextBlob, context+`,"KeyId":"`+other+`"`), "IncorrectKeyException"},
		{"Decrypt", decrypt(sealed.CiphertextBlob, `,"EncryptionContext":{"host":"b"}`), "InvalidCiphertextException"},
		{"Decrypt", decrypt(sealed.CiphertextBlob, ""), "InvalidCiphertextException"},
		{"Decrypt", decrypt("AAAA", context), "InvalidCiphertextException"},
		{"Decrypt", decrypt("", context), "ValidationException"},
		{"Encrypt", `{"KeyId":"` + other + `","Plaintext":"c2VjcmV0"}`, "no identity-based policy allows the kms:Encrypt action"},
		{"Encrypt", `{"KeyId":"none","Plaintext":"c2VjcmV0"}`, "NotFoundException"},
		{"Encrypt", `{"KeyId":"alias/boot","Plaintext":""}`, "ValidationException"},
	} {
		if status, answer := ask(test.operation, test.body); !strings.Contains(answer, test.want) || (status == http.StatusOK) != strings.Contains(test.want, "Plaintext") {
			t.Errorf("%s %s: %d %s", test.operation, test.body, status, answer)
		}
	}
	service.SetPolicy(key, account.RoleARN("other"))
	if _, answer := ask("Decrypt", decrypt(sealed.CiphertextBlob, context)); !strings.Contains(answer, "no resource-based policy") {
		t.Error(answer)
	}
	service.SetPolicy(key)
	for state, want := range map[string]string{awssim.KeyDisabled: "DisabledException", awssim.KeyPendingDeletion: "KMSInvalidStateException",
		awssim.KeyUnavailable: "KeyUnavailableException", awssim.KeyEnabled: "Plaintext"} {
		service.SetState(key, state)
		if _, answer := ask("Decrypt", decrypt(sealed.CiphertextBlob, context)); !strings.Contains(answer, want) {
			t.Errorf("%s: %s", state, answer)
		}
	}
}
