package vaultlogin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/vaultclient"
)

// The left column is what Vault's azure method answers with a 500, as it reaches a client.
func TestAzureRefusals(t *testing.T) {
	for text, want := range map[string]bool{
		"subscription not authorized":   true,
		"resource group not authorized": true,
		"location not authorized":       true,
		"scale set not authorized":      true,
		"service principal not authorized: 5f3a2c1e-0000-4000-8000-000000000000":                                            true,
		"groups not authorized: [a b]":                                                                                      true,
		"subscription_id and resource_group_name are required":                                                              true,
		"one of vm_name, vmss_name, resource_id, or an appid JWT claim must be provided":                                    true,
		"scale set requires the vmss_name field to be set":                                                                  true,
		"bound scale set defined but this vm isn't in a scale set":                                                          true,
		"xms_az_rid and xms_mirid claims are missing from token":                                                            true,
		"xms_mirid token claim does not match vm_name other-vm":                                                             true,
		"neither token object id nor token app id match expected identities":                                                true,
		"token is not yet valid (Token Not Before: 2030-01-01 00:00:00 +0000 UTC)":                                          true,
		`oidc: expected audience "https://vault.internal" got ["https://management.azure.com/"]`:                            true,
		`oidc: id token issued by a different provider, expected "https://sts.windows.net/a/" got "https://evil.example/b"`: true,
		"oidc: token is expired (Token Expiry: 2020-01-01 00:00:00 +0000 UTC)":                                              true,
		"oidc: malformed jwt: go-jose/go-jose: compact JWS format must have three parts":                                    true,
		"failed to verify signature: failed to verify id token signature":                                                   true,
		"unable to retrieve virtual machine metadata: GET https://management.azure.com/subscriptions/s/vm\n" +
			"--------\nRESPONSE 404: 404 Not Found\nERROR CODE: ResourceNotFound\n--------": true,
		"unable to retrieve virtual machine metadata: GET https://management.azure.com/subscriptions/s/vm\n" +
			"--------\nRESPONSE 403: 403 Forbidden\nERROR CODE: AuthorizationFailed\n--------": true,

		"failed to verify signature: fetching keys oidc: get keys failed Get \"https://login.microsoftonline.com/common/discovery/keys\": EOF": false,
		`Get "https://login.microsoftonline.com/t/.well-known/openid-configuration": dial tcp: i/o timeout`:                                    false,
		"503 Service Unavailable: busy": false,
		"unable to retrieve virtual machine metadata: GET https://management.azure.com/subscriptions/s/vm\n" +
			"--------\nRESPONSE 429: 429 Too Many Requests\nERROR CODE: TooManyRequests\n--------": false,
		"unable to retrieve backend configuration: context deadline exceeded": false,
		"internal error": false,
	} {
		for method, want := range map[string]bool{"azure": want, "aws": false, "gcp": false} {
			if got := refused(method, failureOf(t, http.StatusInternalServerError, text)); got != want {
				t.Errorf("%s: refused %v: %s", method, got, text)
			}
		}
	}
}

func TestRefusedByStatus(t *testing.T) {
	for status, want := range map[int]bool{400: true, 403: true, 404: true, 429: false, 500: false, 502: false, 503: false} {
		for _, method := range []string{"aws", "azure", "gcp"} {
			if got := refused(method, failureOf(t, status, "internal error")); got != want {
				t.Errorf("%s, %d: refused %v", method, status, got)
			}
		}
	}
	if refused("azure", failureOf(t, http.StatusBadGateway, "subscription not authorized")) {
		t.Error("a 502 is not the azure method's")
	}
}

// A refusal that may come from the host's clock says so.
func TestRefusedForItsTimes(t *testing.T) {
	s := &Source{mount: "azure"}
	behind := auth.Evidence{Method: "azure", Remark: "this host's clock is 1h0m0s behind"}
	for text, want := range map[string]string{
		"oidc: token is expired (Token Expiry: 2020-01-01 00:00:00 +0000 UTC)":                                       " (" + behind.Remark + ")",
		"current time 2020-01-01 00:00:00 +0000 UTC before the nbf (not before) time: 2020-01-01 00:55:00 +0000 UTC": " (" + behind.Remark + ")",
		"token is not yet valid (Token Not Before: 2030-01-01 00:00:00 +0000 UTC)":                                   " (" + behind.Remark + ")",
		"role requires that service account JWTs expire within 900 seconds":                                          " (" + behind.Remark + ")",
		"subscription not authorized": "",
	} {
		if got := s.advise(behind, failureOf(t, http.StatusBadRequest, text)); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// failureOf is what a client makes of an answer.
func failureOf(t *testing.T, status int, text string) *vaultclient.Failure {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
	}))
	defer server.Close()
	client, err := vaultclient.New(vaultclient.Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	_, err = client.Anonymous().Logical().WriteWithContext(t.Context(), "auth/azure/login", nil)
	return vaultclient.Classify(err)
}
