package vaultlogin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
)

// What Vault's aws method answers with a 400 and with a 500, as it reaches a
// client, and whether that is a decision.
func TestAWSRefusals(t *testing.T) {
	for status, texts := range map[int]map[string]bool{
		http.StatusBadRequest: {
			`IAM Principal "arn:aws:sts::1:assumed-role/a/b" does not belong to the role "c"`:                             true,
			"error making upstream request: received error code 403 from STS: <Code>SignatureDoesNotMatch</Code>":         true,
			"error making upstream request: body of GetCallerIdentity is invalid":                                         true,
			"failed to verify instance ID: error fetching description for instance ID \"i-0\": UnauthorizedOperation: no": true,
			"client nonce mismatch": true,
			`error making upstream request: error making request: Post "https://sts.amazonaws.com//": dial tcp: no route`:   false,
			"error making upstream request: received error code 503 from STS: busy":                                         false,
			"error making upstream request: received error code 400 from STS: <Code>Throttling</Code>":                      false,
			"failed to verify instance ID: error fetching description for instance ID \"i-0\": RequestLimitExceeded: later": false,
			"failed to verify instance ID: unable to fetch current caller: RequestError: send request failed":               false,
		},
		http.StatusInternalServerError: {
			"failed to verify the signature: pkcs7: No certificate for signer":          true,
			"failed to parse the BER encoded PKCS#7 signature: ber2der: offset":         true,
			"instance identity verification using SHA256 RSA signature is unsuccessful": true,
			"IAM instance profile in the instance description is nil":                   true,
			"role tag is being used by an unauthorized instance":                        true,
			"IAM role ARN could not be fetched: RequestError: send request failed":      false,
			"error getting configuration: context deadline exceeded":                    false,
			"internal error": false,
		},
	} {
		for text, want := range texts {
			if got := refused("aws", failureOf(t, status, text)); got != want {
				t.Errorf("refused %v: %d %s", got, status, text)
			}
		}
	}
}

func TestAWSAdvice(t *testing.T) {
	s := &Source{mount: "teams/aws"}
	evidence := auth.Evidence{Method: "aws", Remark: "signed for https://sts.amazonaws.com/"}
	for text, want := range map[string]string{
		"client nonce mismatch":                                  "delete auth/teams/aws/identity-accesslist/<instance ID>",
		"client nonce mismatch and instance meta-data incorrect": "allow_instance_migration=true",
		"reauthentication is disabled":                           "unset disallow_reauthentication",
		"auth method iam not allowed for role r":                 "set aws.login to ec2",
		"auth method ec2 not allowed for role r":                 "set aws.login to iam",
		"pkcs7: No certificate for signer":                       "auth/teams/aws/config/certificate/<name>",
		"error making upstream request: received error code 403": " (signed for https://sts.amazonaws.com/)",
	} {
		if got := s.advise(evidence, failureOf(t, http.StatusBadRequest, text)); !strings.Contains(got, want) {
			t.Errorf("%s: %q does not say %s", text, got, want)
		}
	}
	for _, e := range []auth.Evidence{{Method: "azure"}, {Method: "gcp"}} {
		if got := s.advise(e, failureOf(t, http.StatusBadRequest, "client nonce mismatch")); got != "" {
			t.Errorf("%s: %s", e.Method, got)
		}
	}
}
